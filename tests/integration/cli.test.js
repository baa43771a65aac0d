// cli.test - the command line: help, one sentence for every mistake, exit codes.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { Cluster, freePorts, run, sleep, temporaryFolder, until } from './cluster.js';

const folder = temporaryFolder();
after(() => rmSync(folder, { recursive: true, force: true }));

/** The operator's mistake: exit code 2, one sentence on stderr, nothing on stdout. */
function assertMistake(result, pattern) {
    assert.equal(result.code, 2, `${result.code}: ${result.stderr}`);
    assert.equal(result.stderr.trim().split('\n').length, 1, result.stderr);
    assert.match(result.stderr, pattern);
}

/** What commands say that ask a cluster and hear nothing. */
const SILENT =
    /^chatmesh: no router answers at .+ within 500 ms; is it up, and is the key right\?$/m;

const COMMANDS = [
    'dev',
    'router',
    'gateway',
    'status',
    'drain',
    'undrain',
    'remove',
    'token',
    'keygen',
    'config',
    'version',
];

for (const command of COMMANDS)
    test(`chatmesh ${command} --help explains itself and exits 0`, async () => {
        const { code, stdout } = await run([command, '--help']);
        assert.equal(code, 0);
        assert.match(stdout, new RegExp(`^chatmesh ${command} - .+`));
        assert.match(stdout, /Usage: /);
        assert.match(stdout, /Examples:/);
    });

test('chatmesh --help lists every command', async () => {
    const { code, stdout } = await run(['--help']);
    assert.equal(code, 0);
    for (const command of COMMANDS) assert.match(stdout, new RegExp(`^ +${command} `, 'm'));
});

test('help of help is the help', async () => {
    const { stdout: expected } = await run(['help']);
    for (const args of [['help', '--help'], ['help', '-h'], ['help', 'help'], ['--help', '--help']])
        assert.deepEqual(
            await run(args),
            { code: 0, signal: null, stdout: expected, stderr: '' },
            args.join(' '),
        );
    assertMistake(await run(['help', 'frobnicate']), /frobnicate/);
});

test('only drain waits, and only its help says so', async () => {
    assert.match((await run(['drain', '--help'])).stdout, /^ +--wait$/m);
    for (const command of ['undrain', 'remove']) {
        assert.doesNotMatch((await run([command, '--help'])).stdout, /--wait/);
        assertMistake(await run([command, 'r2', '--wait=false']), /wait/);
    }
});

test('an unknown command and an unknown option are one sentence and exit 2', async () => {
    assertMistake(await run(['frobnicate']), /frobnicate/);
    for (const command of ['dev', 'router', 'gateway', 'status', 'drain', 'token'])
        assertMistake(await run([command, '--no-such-option']), /no-such-option/);
});

test('a value out of range, of the wrong kind or missing is told with its option', async () => {
    assertMistake(await run(['dev', '--port', '70000', '--data', join(folder, 'd')]), /port/);
    assertMistake(await run(['dev', '--port', 'x', '--data', join(folder, 'd')]), /port/);
    assertMistake(await run(['dev', '--port']), /port/);
    assertMistake(await run(['token', '--data', folder]), /user/);
    assertMistake(await run(['router', '--data', join(folder, 'r')]), /id/);
    assertMistake(await run(['gateway', '--id', 'g1']), /join/);
    assertMistake(
        await run(['router', '--id', 'much-too-long-a-name', '--data', join(folder, 'r')]),
        /id/,
    );
});

test('config check names file, line and key of a mistake', async () => {
    const file = join(folder, 'bad.zpl');
    writeFileSync(file, 'http\n    port = "8080"\n    portt = "8081"\n');
    const bad = await run(['config', 'check', file]);
    assertMistake(bad, /bad\.zpl/);
    assert.match(bad.stderr, /\b3\b/);
    assert.match(bad.stderr, /portt/);
    writeFileSync(file, 'http\n    port = "99999"\n');
    const range = await run(['config', 'check', file]);
    assertMistake(range, /bad\.zpl/);
    assert.match(range.stderr, /\b2\b/);
    assert.match(range.stderr, /port/);
    assertMistake(await run(['config', 'check', join(folder, 'missing.zpl')]), /missing\.zpl/);
});

test('config check refuses what start would refuse, a FIFO at once', async () => {
    const file = join(folder, 'refused.zpl');
    const mistakes = {
        'http/bind': 'localhost',
        'http/origin': 'chat.example.org',
        'http/url': 'https://chat.example.org/ws',
        'mesh/join': 'router:7400',
        'mesh/listen': 'foo',
        'node/id': 'g 1',
    };
    for (const [key, value] of Object.entries(mistakes)) {
        const [section, name] = key.split('/');
        writeFileSync(file, `${section}\n    ${name} = "${value}"\n`);
        const pattern = new RegExp(`refused\\.zpl:2: ${key} is .+, not "${value}"`);
        assertMistake(await run(['config', 'check', file]), pattern);
        assertMistake(await run(['gateway', '--id', 'g1', '--config', file]), pattern);
    }
    const fifo = join(folder, 'fifo.zpl');
    execFileSync('mkfifo', [fifo]);
    assertMistake(await run(['config', 'check', fifo], { timeout: 5000 }), /fifo\.zpl.+not a file/);
});

test('config check looks at the files that the config names, as start does', async () => {
    const file = join(folder, 'names.zpl');
    const write = (name, text, mode = 0o600) => {
        const path = join(folder, name);
        writeFileSync(path, text);
        chmodSync(path, mode);
    };
    await run(['keygen', join(folder, 'good.key')]);
    write('open.key', readFileSync(join(folder, 'good.key'), 'utf8'), 0o644);
    write('odd.key', 'a photo');
    write('open.secret', 'everybody knows', 0o644);
    write('good.secret', 'A'.repeat(43));
    const key = 'auth\n    key\n        id = "a"\n        algorithm = "HS256"\n';
    const mistakes = [
        ['mesh\n    key = "no.key"', /:2: mesh\/key: .*no\.key cannot be read: No such file/],
        ['mesh\n    key = "open.key"', /:2: mesh\/key: .*open\.key is open to others .*chmod 600/],
        ['mesh\n    key = "odd.key"', /:2: mesh\/key: .*odd\.key:1: this is not a line of a key file/],
        ['push\n    url = "http://h/"', /:2: push\/url needs a secret/],
        ['push\n    secret_file = "no.secret"', /:2: push\/secret_file: .*no\.secret: No such file/],
        [
            'push\n    url = "http://h/"\n    secret_file = "open.secret"',
            /:3: push\/secret_file: .*open\.secret: it may be read by everybody: chmod 600/,
        ],
        [
            'push\n    url = "http://h/"\n    secret = "s"\n    secret_file = "good.secret"',
            /:4: push\/secret_file: the webhook has two secrets/,
        ],
        [
            `${key}        secret_file = "open.secret"`,
            /:5: auth\/key\/secret_file: .*open\.secret may be read by everybody/,
        ],
        [
            `${key}        secret = "${'A'.repeat(43)}"\n        secret_file = "good.secret"`,
            /:6: auth\/key\/secret_file: this key has a secret already/,
        ],
    ];
    const port = await freePorts(3);
    const start = ['router', '--id', 'r1', '--data', join(folder, 'names'), '--config', file];
    for (const [text, pattern] of mistakes) {
        write('names.zpl', `${text}\n`);
        assertMistake(await run(['config', 'check', file]), pattern);
        assertMistake(await run([...start, '--listen', `tcp://127.0.0.1:${port}`]), pattern);
    }
    write(
        'names.zpl',
        `mesh\n    key = "good.key"\npush\n    url = "http://h/"\n    secret_file = "good.secret"\n${key}        secret_file = "good.secret"\n`,
    );
    const good = await run(['config', 'check', file]);
    assert.deepEqual([good.code, good.stderr], [0, '']);
});

test('config check says ok of a good file', async () => {
    const file = join(folder, 'good.zpl');
    writeFileSync(
        file,
        'node\n    id = "g1"\nhttp\n    port = "8080"\nlimits\n    connections_per_user = "7"\n',
    );
    const { code, stdout } = await run(['config', 'check', file]);
    assert.equal(code, 0);
    assert.match(stdout, /good\.zpl: ok/);
});

test('a data directory that cannot be had is told', async () => {
    const file = join(folder, 'a-file');
    writeFileSync(file, 'x');
    assertMistake(await run(['dev', '--data', file, '--port', await freePorts(2)]), /a-file/);
    assertMistake(await run(['router', '--id', 'r1', '--data', join(file, 'below')]), /a-file/);
});

test('a port in use is told', async () => {
    const server = createServer();
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address();
    assertMistake(
        await run(['dev', '--data', join(folder, 'd'), '--gateways', '1', '--port', port]),
        new RegExp(port),
    );
    server.close();
});

test('the same folder is not run twice at once', async () => {
    const cluster = await Cluster.start();
    try {
        assertMistake(
            await run(['dev', '--data', cluster.data, '--port', await freePorts(2)]),
            /running/,
        );
    } finally {
        await cluster.stop();
    }
});

test('keygen makes a key once and never overwrites it', async () => {
    const file = join(folder, 'cluster.key');
    assert.equal((await run(['keygen', file])).code, 0);
    assertMistake(await run(['keygen', file]), /cluster\.key/);
});

test('keygen with a path that cannot be a file is one sentence and exit 2', async () => {
    assertMistake(await run(['keygen', join(folder, 'no-folder', 'x')]), /no-folder/);
    assertMistake(await run(['keygen', folder]), /exists/);
    assertMistake(await run(['keygen', '']), /needs a name/);
});

test('a router checks all its options before it makes its data', async () => {
    const data = join(folder, 'new', 'data');
    const wrong = [
        [['--listen', 'foo'], /--listen is tcp/],
        [['--listen', 'tcp://10.0.0.1:7400'], /--listen: .+plain text/],
        [['--listen', 'tcp://127.0.0.1:7400', '--key', join(folder, 'no.key')], /no\.key/],
        [['--join', 'tcp://10.0.0.1:7400'], /--join/],
        [['--replicas', '2'], /--replicas is an odd number/],
        [['--weight', '0'], /--weight/],
        [['--grace', 'soon'], /--grace is a time/],
        [['--advertise', 'a b'], /--advertise/],
    ];
    for (const [args, pattern] of wrong) {
        assertMistake(await run(['router', '--id', 'r1', '--data', data, ...args]), pattern);
        assert.ok(!existsSync(join(folder, 'new')), args.join(' '));
    }
    const key = join(folder, 'wildcard.key');
    await run(['keygen', key]);
    assertMistake(
        await run(
            ['router', '--id', 'r1', '--data', data, '--key', key, '--listen', 'tcp://*:7400'],
        ),
        /--advertise/,
    );
    assert.ok(!existsSync(join(folder, 'new')));
});

test('dev says why a node ended', async () => {
    const data = join(folder, 'ended');
    const port = await freePorts(2);
    mkdirSync(data);
    await run(['keygen', join(data, 'cluster.key')]);
    mkdirSync(join(data, 'r1'));
    writeFileSync(join(data, 'r1', 'photo.jpg'), 'x');
    const { code, stderr } = await run(['dev', '--data', data, '--port', port]);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /^chatmesh: r1 ended with code 2: .*r1 .+; its log is .+r1\.log$/m);
});

test('a router refuses data of another node', async () => {
    const cluster = await Cluster.start();
    await cluster.stop({ keep: true });
    const port = await freePorts(3);
    const result = await run([
        'router',
        '--id',
        'r9',
        '--data',
        join(cluster.data, 'r1'),
        '--listen',
        `tcp://127.0.0.1:${port}`,
    ]);
    rmSync(cluster.data, { recursive: true, force: true });
    assertMistake(result, /r1|another/);
});

test('a router with an empty folder and --join waits, ends at SIGTERM, and begins nothing', async () => {
    const data = join(folder, 'joiner');
    const port = await freePorts(6);
    const args = ['router', '--id', 'r2', '--data', data, '--listen', `tcp://127.0.0.1:${port}`];
    const { code, stderr } = await run([...args, '--join', `tcp://127.0.0.1:${port + 3}`], {
        until: / joining self=r2 seconds=5 waits_for="a router that can be reached.+$/m,
    });
    assert.equal(code, 0, stderr);
    assert.match(stderr, / joining self=r2 seconds=5 /);
    assert.doesNotMatch(stderr, /cluster_begun|router_started/);
    // What waits for a cluster is still new: without --join one begins there.
    const founder = await run(args, { until: / router_started / });
    assert.equal(founder.code, 0, founder.stderr);
    assert.match(founder.stderr, / cluster_begun .*shards=64 replicas=3/);
    // From now on --join is only a way to find the others.
    const again = await run([...args, '--join', `tcp://127.0.0.1:${port + 3}`], {
        until: / router_started /,
    });
    assert.equal(again.code, 0, again.stderr);
    assert.match(again.stderr, / router_started /);
    assert.doesNotMatch(again.stderr, / joining /);
});

test('a router with the data of another cluster does not run beside the one it is to join', async () => {
    const key = join(folder, 'clusters.key');
    await run(['keygen', key]);
    const port = await freePorts(6);
    const args = (id, at) => [
        ...['router', '--id', id, '--data', join(folder, `founder-${id}`), '--key', key],
        ...['--listen', `tcp://127.0.0.1:${at}`],
    ];
    const founder = await run(args('r2', port + 3), { until: / router_started / });
    assert.match(founder.stderr, / cluster_begun /);
    const other = run(args('r1', port), { timeout: 9000 });
    const mixed = await run([...args('r2', port + 3), '--join', `tcp://127.0.0.1:${port}`], {
        timeout: 8000,
    });
    assert.equal(mixed.code, 2, mixed.stderr);
    assert.match(mixed.stderr, / foreign_cluster self=r2 node=r1/);
    assert.match(
        mixed.stderr,
        /^chatmesh: the data in .+founder-r2 is of another cluster than tcp:.+, which --join names/m,
    );
    const { code, stderr } = await other; // Nobody told it to join: it stays.
    assert.equal(code, 0, stderr);
    assert.match(stderr, / foreign_cluster self=r1 node=r2/);
    assert.match(stderr, / handed_over self=r1 complete=0 alone=65$/m); // There is nobody else.
});

test('a gateway whose cluster is gone ends where another answers at its --join, not while it is there', async () => {
    const key = join(folder, 'astray.key');
    await run(['keygen', key]);
    const port = await freePorts(7);
    const [first, other] = [port, port + 3].map((at) => `tcp://127.0.0.1:${at}`);
    const begin = (id, listen, signal) =>
        run(
            ['router', '--data', join(folder, `astray-${id}`), '--key', key, '--id', id]
                .concat('--listen', listen),
            { timeout: 60000, signal },
        ).catch(() => {});
    const [isGone, isOver] = [new AbortController(), new AbortController()];
    const routers = [begin('r1', first, isGone.signal)];
    const gateway = ['gateway', '--id', 'g1', '--port', port + 6, '--key', key];
    const ended = run([...gateway, '--join', first, '--join', other], { timeout: 40000 });
    await until('the gateway has a cluster', async () => {
        const response = await fetch(`http://127.0.0.1:${port + 6}/health`).catch(() => null);
        return response?.ok;
    });
    routers.push(begin('r2', other, isOver.signal));
    await sleep(4000); // The other answers, and it stays.
    isGone.abort();
    const since = Date.now();
    const { code, stderr } = await ended;
    assert.equal(code, 1, stderr);
    assert.match(stderr, / foreign_cluster self=g1 node=r2$/m);
    const reason = `^chatmesh: no router of .+ is heard, and ${other}, which --join names, is of another`;
    assert.match(stderr, new RegExp(reason, 'm'));
    assert.ok(Date.now() - since > 9000, `${Date.now() - since} ms`);
    isOver.abort();
    await Promise.all(routers);
});

test('a founder that lost its disk does not found a second cluster beside the one that looks for it', async () => {
    const key = join(folder, 'lost.key');
    await run(['keygen', key]);
    const port = await freePorts(9);
    const data = join(folder, 'lost-r1');
    const args = (id, at, ...more) => [
        ...['router', '--id', id, '--data', join(folder, `lost-${id}`), '--key', key],
        ...['--listen', `tcp://127.0.0.1:${at}`, ...more],
    ];
    const first = run(args('r1', port), { timeout: 5000 }); // Then it is sent SIGTERM.
    const seed = ['--join', `tcp://127.0.0.1:${port}`];
    const others = [
        run(args('r2', port + 3, ...seed), { timeout: 14000 }),
        run(args('r3', port + 6, ...seed), { timeout: 14000 }),
    ];
    await first;
    rmSync(data, { recursive: true, force: true });
    const again = await run(args('r1', port), { timeout: 8000 });
    assert.equal(again.code, 2, again.stderr);
    assert.match(
        again.stderr,
        /^chatmesh: r[23], of a cluster with this key, looks for a router here: .+ give --join/m,
    );
    for (const { code, stderr } of await Promise.all(others)) assert.equal(code, 0, stderr);
});

test('a gateway with the id of a router ends, and the router does not', async () => {
    const port = await freePorts(4);
    const listen = `tcp://127.0.0.1:${port}`;
    const data = join(folder, 'namesake');
    const router = run(['router', '--id', 'r1', '--listen', listen, '--data', data], {
        timeout: 9000,
    });
    const gateway = await run(['gateway', '--id', 'r1', '--port', `${port + 3}`, '--join', listen], {
        timeout: 7000,
    });
    assert.equal(gateway.code, 1, gateway.stderr);
    assert.match(gateway.stderr, / duplicate_node_id self=r1 node=r1 is=router/);
    const { code, stderr } = await router;
    assert.equal(code, 0, stderr);
});

test('router and gateway run without a key or a config; then no token can be good', async () => {
    const port = await freePorts(4);
    const listen = `tcp://127.0.0.1:${port}`;
    const data = join(folder, 'plain');
    const router = run(['router', '--id', 'r1', '--listen', listen, '--data', data], {
        timeout: 5000,
    });
    const args = ['gateway', '--id', 'g1', '--port', `${port + 3}`, '--join', listen];
    const gateway = run(args, { timeout: 4000 });
    const http = `http://127.0.0.1:${port + 3}`;
    await until('the gateway is up', async () =>
        fetch(`${http}/health`).then(
            ({ ok }) => ok,
            () => false,
        ),
    );
    const answer = await fetch(`${http}/v1/users/a/conversations`, {
        headers: { Authorization: 'Bearer x.y.z' },
    });
    assert.equal(answer.status, 401);
    const { code, stderr } = await gateway;
    assert.equal(code, 0, stderr);
    assert.match(stderr, / no_auth_key self=g1 reason="no token can be checked, [^"]+"$/m);
    assert.equal((await router).code, 0);
});

test('drain, undrain and remove say what is wrong in one sentence', async () => {
    const port = await freePorts(1);
    assertMistake(await run(['drain']), /usage: chatmesh drain NODE/);
    for (const command of ['drain', 'undrain', 'remove']) {
        assertMistake(await run([command, 'r 2']), /r 2/);
        assertMistake(await run([command, 'r2', '--data', join(folder, 'none')]), /none/);
        const { code, stderr } = await run([
            command,
            'r2',
            '--join',
            `tcp://127.0.0.1:${port}`,
            '--timeout-ms',
            '500',
        ]);
        assert.equal(code, 1);
        assert.match(stderr, SILENT);
    }
});

test('a folder that is not ours is refused, not overwritten', async () => {
    const data = join(folder, 'holiday');
    mkdirSync(data);
    writeFileSync(join(data, 'photo.jpg'), 'x');
    const port = await freePorts(3);
    assertMistake(
        await run(['router', '--id', 'r1', '--data', data, '--listen', `tcp://127.0.0.1:${port}`]),
        /holiday/,
    );
});

test('token makes a token for the dev cluster, status tells of it', async () => {
    const cluster = await Cluster.start();
    try {
        const { code, stdout } = await run(['token', '--user', 'alice', '--data', cluster.data]);
        assert.equal(code, 0);
        assert.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
        const status = await run(['status', '--json', '--data', cluster.data]);
        assert.equal(status.code, 0, status.stderr);
        const text = JSON.stringify(JSON.parse(status.stdout));
        for (const node of ['r1', 'g1', 'g2']) assert.match(text, new RegExp(`"${node}"`));
        const plain = await run(['status', '--data', cluster.data]);
        assert.equal(plain.code, 0);
        assert.match(plain.stdout, /r1/);
    } finally {
        await cluster.stop();
    }
});

test('a variable that is no option is refused by name', async () => {
    const env = { ...process.env, CHATMESH_TIMEOUT: '500' };
    const mistake = await run(['status', '--data', folder], { env });
    assertMistake(mistake, /^chatmesh: CHATMESH_TIMEOUT is set in the environment, .+ did you mean CHATMESH_TIMEOUT_MS/);
    assert.equal((await run(['version'], { env })).code, 0);
});

test('token signs with the key of the config that is given, or with none', async () => {
    const home = join(folder, 'home');
    const own = join(folder, 'own.zpl');
    const env = { ...process.env, HOME: home, XDG_STATE_HOME: join(home, 'state') };
    const dev = join(home, 'state', 'chatmesh', 'dev');
    const key = (id) =>
        `auth\n    key\n        id = "${id}"\n        algorithm = "HS256"\n        secret = "${'A'.repeat(43)}"\n`;
    mkdirSync(dev, { recursive: true });
    writeFileSync(join(dev, 'auth.zpl'), key('dev'), { mode: 0o600 });
    writeFileSync(own, 'http\n    port = 8080\nnode\n    data = "r1"\n', { mode: 0o600 });
    const sign = (...args) => run(['token', '--user', 'alice', ...args], { env });
    const kid = ({ stdout }) => JSON.parse(Buffer.from(stdout.split('.')[0], 'base64url')).kid;

    assertMistake(await sign('--config', own), /own\.zpl has no auth\/key to sign with/);
    assert.equal(kid(await sign('--config', own, '--data', dev)), 'dev');
    writeFileSync(own, key('login'));
    assert.equal(kid(await sign('--config', own)), 'login');
    // With nothing given it is the dev cluster's, and says so where a script does not read it.
    const plain = await sign();
    assert.equal(kid(plain), 'dev');
    assert.match(plain.stderr, /^chatmesh: signed with the key of the dev cluster in .+dev$/m);
    rmSync(home, { recursive: true });
    assertMistake(await sign(), /no key to sign with/);
});

test('status of a cluster that is not there fails with one sentence', async () => {
    const port = await freePorts(1);
    const { code, stderr } = await run([
        'status',
        '--join',
        `tcp://127.0.0.1:${port}`,
        '--timeout-ms',
        '500',
    ]);
    assert.equal(code, 1);
    assert.equal(stderr.trim().split('\n').length, 1, stderr);
    assert.match(stderr, SILENT);
});

test('SIGTERM drains the cluster and exits 0', async () => {
    const cluster = await Cluster.start({ args: ['--drain-ms', '100'] });
    const ended = cluster.ended;
    cluster.child.kill('SIGTERM');
    assert.equal(await ended, 0);
    rmSync(cluster.data, { recursive: true, force: true });
});
