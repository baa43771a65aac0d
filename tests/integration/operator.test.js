// operator.test - routers and gateways started one by one from the shell, as an operator does:
// what they find again by themselves, and what they say where something is missing.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { BINARY, freePorts, readMetrics, run, temporaryFolder, until } from './cluster.js';

const SHARDS = 4;

const folder = temporaryFolder();
const running = new Set();
after(async () => {
    await Promise.all([...running].map((node) => node.stop('SIGKILL')));
    rmSync(folder, { recursive: true, force: true });
});

/** One process of the binary, with what it says on stderr. */
class Node {
    constructor(args) {
        this.said = '';
        this.child = spawn(BINARY, args, { stdio: ['ignore', 'ignore', 'pipe'] });
        this.child.stderr.on('data', (data) => {
            this.said += data;
        });
        this.code = once(this.child, 'exit').then(([code]) => {
            running.delete(this);
            return code;
        });
        running.add(this);
    }

    stop(signal = 'SIGTERM') {
        this.child.kill(signal);
        return this.code;
    }

    says(pattern, ms = 15000) {
        return until(`${pattern} in:\n${this.said}`, () => pattern.test(this.said), ms);
    }
}

/** Machines of one cluster: ports, a folder and an address each. */
class Site {
    static async make(name, count) {
        const site = new Site();
        site.port = await freePorts(4 * count + 1);
        site.key = join(folder, `${name}.key`);
        site.name = name;
        site.http = site.port + 3 * count;
        await run(['keygen', site.key]);
        return site;
    }

    at(i) {
        return `tcp://127.0.0.1:${this.port + 3 * (i - 1)}`;
    }

    data(i) {
        return join(folder, `${this.name}-r${i}`);
    }

    /** Router ri, with these routers as --join. */
    router(i, joins, ...more) {
        return new Node([
            ...['router', '--id', `r${i}`, '--data', this.data(i), '--key', this.key],
            ...['--listen', this.at(i), '--shards', SHARDS, ...this.#joins(joins), ...more],
        ]);
    }

    /** Where monitors find router ri, if it is started with --http. */
    monitored(i) {
        return `127.0.0.1:${this.http + i}`;
    }

    /** /health or /metrics of router ri; null where nobody answers. */
    look(i, path) {
        const signal = AbortSignal.timeout(2000);
        return fetch(`http://${this.monitored(i)}${path}`, { signal }).catch(() => null);
    }

    gateway(joins) {
        return new Node([
            ...['gateway', '--id', 'g1', '--port', this.http, '--bind', '127.0.0.1'],
            ...['--key', this.key, ...this.#joins(joins)],
        ]);
    }

    /** `chatmesh COMMAND`, asking these routers. */
    ask(joins, ...command) {
        return run([...command, '--key', this.key, ...this.#joins(joins)]);
    }

    async health() {
        const answer = await fetch(`http://127.0.0.1:${this.http}/health`).catch(() => null);
        return answer?.json();
    }

    /** Wait until as many routers hold everything. */
    untilHeld(joins, count) {
        return until(
            `${count} routers hold everything`,
            async () => {
                const { code, stdout } = await this.ask(joins, 'status', '--json');
                if (code !== 0) return false;
                const { members, shards, moves } = JSON.parse(stdout);
                const full = members.filter(({ replicas }) => replicas === SHARDS + 1);
                return full.length === count && shards.led === SHARDS && moves.pending === 0;
            },
            60000,
        );
    }

    #joins(joins) {
        return joins.flatMap((i) => ['--join', this.at(i)]);
    }
}

test('routers find each other again though all that --join names is gone, and say who is missing', async () => {
    const site = await Site.make('again', 3);
    let r1 = site.router(1, []);
    let r2 = site.router(2, [1]);
    let r3 = site.router(3, [1]);
    await site.untilHeld([1], 3);
    await Promise.all([r1.stop(), r2.stop(), r3.stop()]);

    // r1 is gone, and nobody was told of anybody else.
    r2 = site.router(2, [1]);
    const gateway = site.gateway([2]);
    await r2.says(/ router_started .* remembered=2$/m);
    await r2.says(/ alone self=r2 seconds=5 missing="r3 at tcp:\S+, r1 at tcp:\S+" reason="none of /);
    const alone = await until('the gateway hears r2', async () => {
        const health = await site.health();
        return health?.routers.up === 1 && health;
    });
    assert.equal(alone.status, 'DOWN');
    assert.deepEqual(alone.routers.missing.sort(), ['r1', 'r3']);
    assert.equal(alone.reason, 'shards have no leader, and routers are missing');

    const told = await site.ask([2], 'status');
    assert.equal(told.code, 0, told.stderr);
    assert.match(told.stdout, new RegExp(`^r3 +unknown .* ${site.at(3)} +down$`, 'm'));
    assert.match(told.stdout, /^missing: r1, r3; nobody hears them$/m);

    r3 = site.router(3, [1]);
    await until('two of three serve', async () => (await site.health())?.status === 'UP', 20000);
    await until('only r1 is missing', async () => {
        const { routers } = await site.health();
        return routers.up === 2 && routers.missing.join() === 'r1';
    });
    // The first router never had a --join.
    r1 = site.router(1, []);
    await site.untilHeld([1], 3);
    await until('nobody is missing', async () => (await site.health()).routers.missing.length === 0);
    assert.doesNotMatch(r1.said + r3.said, / alone | cluster_begun /);
    await Promise.all([gateway.stop(), r1.stop(), r2.stop(), r3.stop()]);
});

test('what drain says of a router that is not there, remove does', async () => {
    const site = await Site.make('dead', 3);
    const grace = ['--grace', '10'];
    const nodes = [site.router(1, [], ...grace)];
    for (const i of [2, 3]) nodes.push(site.router(i, [1], ...grace));
    await site.untilHeld([1], 3);
    await nodes[1].stop('SIGKILL');
    const drained = await site.ask([1], 'drain', 'r2');
    assert.equal(drained.code, 0, drained.stderr);
    assert.match(
        drained.stdout,
        /^r2 is not there, and no group counts it .+: chatmesh remove r2 is taken once it was silent for --grace/m,
    );
    const early = await site.ask([1], 'remove', 'r2');
    assert.equal(early.code, 2, early.stderr);
    const [, seconds] = /^chatmesh: r2: it is not there .+ remove it in (\d+) s, /.exec(early.stderr);
    assert.ok(seconds <= 10, early.stderr);
    await until(
        'it is removed when that time is over',
        async () => (await site.ask([1], 'remove', 'r2')).code === 0,
        (Number(seconds) + 5) * 1000,
    );
    await Promise.all(nodes.map((node) => node.stop()));
});

test('status says what is known while nobody leads, and while nobody serves', async () => {
    const site = await Site.make('waits', 4);
    const silent = await site.ask([1, 2], 'status', '--timeout-ms', '500');
    assert.deepEqual([silent.code, silent.stdout], [1, '']);
    assert.equal(
        silent.stderr,
        `chatmesh: no router answers at ${site.at(1)}, ${site.at(2)} within 500 ms; is one of them up, and is the key right?\n`,
    );
    // Routers that wait for one another, and there is no first one.
    let r2 = site.router(2, [3]);
    let r3 = site.router(3, [2]);
    const waiting = await until('both are heard', async () => {
        const told = await site.ask([2, 1], 'status');
        assert.equal(told.code, 1, told.stderr);
        return /r3/.test(told.stderr) && /r2/.test(told.stderr) && told;
    });
    assert.match(
        waiting.stderr,
        new RegExp(`^chatmesh: no cluster is heard at ${site.at(2)}, ${site.at(1)}, only routers that wait .*r2 at ${site.at(2)}`),
    );
    assert.match(waiting.stdout, /^r2 +unknown /m);
    await Promise.all([r2.stop('SIGKILL'), r3.stop('SIGKILL')]);

    let r1 = site.router(1, []);
    r2 = site.router(2, [1]);
    r3 = site.router(3, [1]);
    await site.untilHeld([1], 3);
    await Promise.all([r1.stop('SIGKILL'), r2.stop('SIGKILL'), r3.stop('SIGKILL')]);
    r1 = site.router(1, []);
    const r4 = site.router(4, [1]);
    const told = await until('r1 and r4 are heard', async () => {
        const now = await site.ask([1], 'status');
        return /^r4 is joining/m.test(now.stdout) && now;
    });
    assert.equal(told.code, 0, told.stderr);
    assert.match(told.stdout, /^shards 4, led 0 \(some have no leader\)/m);
    assert.match(told.stdout, /^missing: r2, r3; nobody hears them$/m);
    assert.match(told.stdout, /^no router leads the control group: .+ nothing is moved, drained, /m);
    assert.match(
        told.stdout,
        /^r4 is joining and waits for (a leader of the control group|an answer).+$/m,
    );
    await Promise.all([r1.stop('SIGKILL'), r4.stop('SIGKILL')]);
});

test('a router that was removed gives up what it holds, says what it is, and ends', async () => {
    const site = await Site.make('removed', 4);
    const grace = ['--grace', '3'];
    const nodes = [site.router(1, [], ...grace)];
    for (const i of [2, 3, 4]) nodes.push(site.router(i, [1], ...grace));
    await until('four share', async () => {
        const { code, stdout } = await site.ask([1], 'status', '--json');
        const members = code === 0 ? JSON.parse(stdout).members : [];
        return members.length === 4 && JSON.parse(stdout).moves.pending === 0;
    }, 60000);
    await nodes[3].stop('SIGKILL');
    await until('r4 is removed', async () => (await site.ask([1], 'remove', 'r4')).code === 0, 20000);

    const again = site.router(4, [], ...grace); // It remembers the others.
    assert.equal(await again.code, 2, again.said);
    assert.match(
        again.said,
        /^chatmesh: r4 was removed from this cluster for good, .+: empty \S+, and start it under a new --id$/m,
    );
    // One that runs when it is removed ends as well, in order.
    assert.equal((await site.ask([1], 'drain', 'r3')).code, 0);
    assert.equal((await site.ask([1], 'remove', 'r3')).code, 0);
    assert.equal(await nodes[2].code, 0, nodes[2].said);
    assert.match(nodes[2].said, / removed self=r3 reason="it was removed from the cluster, /);
    const { stdout } = await site.ask([1], 'status');
    assert.match(stdout, /^shards 4, led 4; routers 2, /m);
    assert.doesNotMatch(stdout, /missing/);
    await Promise.all(nodes.slice(0, 2).map((node) => node.stop()));
});

test('of a damaged store is said what to do, and that works', async () => {
    const site = await Site.make('damaged', 3);
    const r1 = site.router(1, []);
    const r3 = site.router(3, [1]);
    let r2 = site.router(2, [1]);
    await site.untilHeld([1], 3);
    await r2.stop();
    for (const name of readdirSync(site.data(2)))
        if (name.startsWith('MANIFEST')) writeFileSync(join(site.data(2), name), 'nonsense');
    for (const joins of [[], [1]]) {
        r2 = site.router(2, joins);
        assert.equal(await r2.code, 1, r2.said);
        assert.match(
            r2.said,
            new RegExp(
                `^chatmesh: .+; where every shard has a leader without it \\(chatmesh status\\), move \\S+ away and start again${joins.length > 0 ? '' : ' with --join'}: the others fill it anew; else put a copy of it back$`,
                'm',
            ),
        );
    }
    rmSync(site.data(2), { recursive: true });
    r2 = site.router(2, [1]);
    await site.untilHeld([1], 3);
    await Promise.all([r1.stop(), r2.stop(), r3.stop()]);
});

test('a router tells monitors whether it can do its part, why not, and its own numbers', async () => {
    const site = await Site.make('watched', 3);
    const start = (i, joins) => site.router(i, joins, '--http', site.monitored(i));
    const nodes = {};
    const untilTold = (i, status, isTrue = () => true) =>
        until(
            `r${i} is ${status}`,
            async () => {
                const answer = await site.look(i, '/health');
                const health = await answer?.json();
                if (health?.status !== status || !isTrue(health)) return false;
                assert.equal(answer.status, status === 'UP' ? 200 : 503);
                assert.deepEqual([health.node, health.role], [`r${i}`, 'router']);
                assert.equal(health.reason === undefined, status === 'UP');
                return health;
            },
            20000,
        );

    nodes.r2 = start(2, [1]);
    const joining = await untilTold(2, 'DOWN');
    assert.match(joining.reason, /^it is not in a cluster yet, and waits for a router /);
    nodes.r1 = start(1, []);
    nodes.r3 = start(3, [1]);
    await site.untilHeld([1], 3);
    let led = 0;
    for (const i of [1, 2, 3]) {
        const health = await untilTold(i, 'UP', ({ routers }) => routers.missing.length === 0);
        assert.deepEqual(health.replicas, { held: SHARDS + 1, leaderless: 0 });
        assert.equal(health.shards.total, SHARDS);
        assert.equal(health.routers.up, 3);
        const metrics = await readMetrics(await site.look(i, '/metrics'), `r${i}`, 'router');
        led += metrics.get('chatmesh_shards_led');
        assert.equal(metrics.get('chatmesh_up'), 1);
        assert.equal(metrics.get('chatmesh_replicas_held'), SHARDS + 1);
        assert.equal(metrics.get('chatmesh_peers_up'), 2);
        assert.ok(metrics.get('chatmesh_syncs_total') > 0);
        assert.ok(!metrics.has('chatmesh_sessions_open')); // A gateway's.
    }
    assert.equal(led, SHARDS);

    await Promise.all([nodes.r2.stop('SIGKILL'), nodes.r3.stop('SIGKILL')]);
    // Who led the control group counts as its leader until its silence is noticed.
    const reason = 'the control group has no leader, and routers are missing';
    const isSettled = (told) => told.reason === reason && told.routers.missing.length === 2;
    const alone = await untilTold(1, 'DOWN', isSettled);
    assert.equal(alone.routers.up, 1);
    assert.deepEqual(alone.routers.missing.sort(), ['r2', 'r3']);
    assert.ok(alone.replicas.leaderless > 0);
    const metrics = await readMetrics(await site.look(1, '/metrics'), 'r1', 'router');
    assert.equal(metrics.get('chatmesh_up'), 0);
    assert.ok(metrics.get('chatmesh_replicas_leaderless') > 0);

    nodes.r2 = start(2, [1]);
    for (const i of [1, 2]) {
        const two = await untilTold(i, 'UP', ({ routers }) => routers.missing.join() === 'r3');
        assert.equal(two.routers.up, 2);
    }
    nodes.r3 = start(3, [1]);
    for (const i of [1, 2, 3])
        await untilTold(i, 'UP', ({ routers }) => routers.missing.length === 0);
    await Promise.all(Object.values(nodes).map((node) => node.stop('SIGKILL')));
});

test('a port for monitors that cannot be had is told before there is data', async () => {
    const site = await Site.make('taken', 1);
    const data = join(folder, 'taken-other');
    const args = ['router', '--id', 'r2', '--data', data, '--listen', site.at(1)];
    const r1 = site.router(1, [], '--http', String(site.http + 1)); // On 127.0.0.1.
    await until('it is UP', async () => (await site.look(1, '/health'))?.status === 200);
    const port = site.http + 1;
    const wrong = [
        [port, new RegExp(`^chatmesh: --http: cannot listen on 127.0.0.1 port ${port}: Address already in use\n$`)],
        ['203.0.113.1:7480', /^chatmesh: --http: cannot listen on 203.0.113.1 port 7480: Cannot assign .+\n$/],
        ['localhost:7480', /^chatmesh: --http is a port, or a numeric address and a port: .+, not "localhost:7480"\n$/],
    ];
    for (const [http, pattern] of wrong) {
        const { code, stderr } = await run([...args, '--http', String(http)]);
        assert.equal(code, 2, stderr);
        assert.match(stderr, pattern);
        assert.ok(!existsSync(data));
    }
    await r1.stop();
    const off = site.router(1, []);
    await off.says(/ router_started .* http=off /);
    assert.equal(await site.look(1, '/health'), null);
    await off.stop();
});
