// cluster - a real cluster for tests: `chatmesh dev` on free ports and a data folder of its own.
//
// The supervisor kills its nodes when it ends, and ends with this process, so nothing outlives a
// test.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const BINARY =
    process.env.CHATMESH ?? fileURLToPath(new URL('../../build/chatmesh', import.meta.url));

const READY_MS = 20000;
const STOP_MS = 15000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Ask until it is true; fail with `what` otherwise. */
export async function until(what, isTrue, timeoutMs = 10000) {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
        const value = await isTrue();
        if (value) return value;
        assert.ok(Date.now() < deadline, `not within ${timeoutMs} ms: ${what}`);
        await sleep(30);
    }
}

/** Is nobody listening there? */
function isFree(port) {
    return new Promise((resolve) => {
        const server = createServer();
        server.once('error', () => resolve(false));
        server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
}

/** The first of `count` neighbouring ports that are free. */
export async function freePorts(count) {
    for (;;) {
        const first = 20000 + Math.floor(Math.random() * 12000); // Below the ephemeral range.
        const free = await Promise.all(Array.from({ length: count }, (_, i) => isFree(first + i)));
        if (free.every(Boolean)) return first;
    }
}

export function temporaryFolder() {
    return mkdtempSync(join(tmpdir(), 'chatmesh-test-'));
}

/** The metrics of a /metrics answer by name, each told once, with HELP and TYPE before it, and of
 * this node and role. Fails where it is not as Prometheus reads it. */
export async function readMetrics(response, node, role) {
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
    const text = await response.text();
    assert.ok(text.endsWith('\n'));
    const lines = text.trimEnd().split('\n');
    assert.equal(lines.length % 3, 0);
    const metrics = new Map();
    for (let i = 0; i < lines.length; i += 3) {
        const [, name] = /^# HELP ([a-z_][a-z0-9_]*) [^\\]+$/.exec(lines[i]) ?? assert.fail(lines[i]);
        const kind = name.endsWith('_total') ? 'counter' : 'gauge';
        assert.equal(lines[i + 1], `# TYPE ${name} ${kind}`);
        const labelled = `${name}{node="${node}",role="${role}"} `;
        assert.ok(lines[i + 2].startsWith(labelled), lines[i + 2]);
        const value = lines[i + 2].slice(labelled.length);
        assert.match(value, /^-?\d+$/);
        assert.ok(!metrics.has(name), `${name} twice`);
        metrics.set(name, Number(value));
    }
    return metrics;
}

/** Run the binary to its end. `until`: once what it logs fits, it is sent SIGTERM. */
export function run(args, { until: enough, ...options } = {}) {
    return new Promise((resolve, reject) => {
        const child = spawn(BINARY, args, { timeout: 20000, ...options });
        let stdout = '';
        let stderr = '';
        child.stdout.on('data', (data) => {
            stdout += data;
        });
        child.stderr.on('data', (data) => {
            stderr += data;
            if (enough?.test(stderr)) child.kill();
        });
        child.on('error', reject);
        child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
    });
}

export class Cluster {
    /** Start it and wait for its `ready` line. `args` are further options of `chatmesh dev`. */
    static async start({
        routers = 1,
        gateways = 2,
        args = ['--no-limits'],
        data = temporaryFolder(),
        port,
    } = {}) {
        const cluster = new Cluster(data, port ?? (await freePorts(gateways)), gateways, routers);
        await cluster.#start(args);
        return cluster;
    }

    constructor(data, port, gateways, routers = 1) {
        this.data = data;
        this.port = port;
        this.routers = routers;
        this.gateways = gateways;
        this.output = '';
    }

    async #start(args) {
        this.child = spawn(
            BINARY,
            [
                'dev',
                '--routers',
                this.routers,
                '--gateways',
                this.gateways,
                '--port',
                this.port,
                '--data',
                this.data,
                ...args,
            ],
            { stdio: ['ignore', 'pipe', 'pipe'] },
        );
        const onExit = () => this.child.kill('SIGKILL');
        process.once('exit', onExit);
        this.ended = new Promise((resolve) => {
            this.child.once('close', resolve);
            this.child.once('error', (error) => {
                this.output += `${error.message} (is it built? CHATMESH names the binary)`;
                resolve(null);
            });
        });
        this.ended.then(() => process.off('exit', onExit));
        this.child.stderr.on('data', (data) => {
            this.output += data;
        });
        const ready = new Promise((resolve) => {
            createInterface({ input: this.child.stdout }).on('line', (line) => {
                this.output += `${line}\n`;
                if (line.startsWith('ready')) resolve('ready');
            });
        });
        const patience = setTimeout(() => this.child.kill('SIGTERM'), READY_MS);
        const outcome = await Promise.race([ready, this.ended]);
        clearTimeout(patience); // A timer left behind would keep the process alive.
        if (outcome !== 'ready') {
            await this.stop();
            assert.fail(`the cluster did not become ready:\n${this.output}`);
        }
    }

    /** End it; its data goes too unless `keep`. */
    async stop({ keep = false } = {}) {
        this.child.kill('SIGTERM');
        // Do not wait for the drain.
        const insist = setTimeout(() => this.child.kill('SIGINT'), 1000);
        const kill = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS);
        await this.ended;
        clearTimeout(insist);
        clearTimeout(kill);
        if (!keep) rmSync(this.data, { recursive: true, force: true });
    }

    /** Base address of gateway i (from 1). */
    http(i = 1) {
        return `http://127.0.0.1:${this.port + i - 1}`;
    }

    ws(i = 1) {
        return `ws://127.0.0.1:${this.port + i - 1}/ws`;
    }

    /** Process id of a node, or null where it does not run. */
    pid(node) {
        try {
            return Number(readFileSync(join(this.data, `${node}.pid`), 'utf8')) || null;
        } catch {
            return null;
        }
    }

    signal(node, signal) {
        process.kill(this.pid(node), signal);
    }

    /** Kill a node and wait until it is gone. Returns its process id. */
    async kill(node) {
        const pid = this.pid(node);
        process.kill(pid, 'SIGKILL');
        await until(`${node} is dead`, () => this.pid(node) !== pid);
        return pid;
    }

    /** /health of gateway i as {status, body}; null where nobody answers. */
    async health(i = 1) {
        try {
            const response = await fetch(`${this.http(i)}/health`, {
                signal: AbortSignal.timeout(2000),
            });
            return { status: response.status, body: await response.json() };
        } catch {
            return null;
        }
    }

    async token(user, device) {
        const response = await fetch(`${this.http()}/v1/dev/token`, {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify({ user, device }),
        });
        assert.equal(response.status, 200);
        return (await response.json()).token;
    }

    /** The key with which this cluster's tokens are signed. */
    get secret() {
        const text = readFileSync(join(this.data, 'auth.zpl'), 'utf8');
        return Buffer.from(/secret = "([^"]+)"/.exec(text)[1], 'base64url');
    }

    /** Any token, good or bad, signed with the cluster's key. */
    forge(claims, header = {}) {
        const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
        const head = { alg: 'HS256', typ: 'JWT', kid: 'dev', ...header };
        const signed = `${encode(head)}.${encode(claims)}`;
        return `${signed}.${createHmac('sha256', this.secret).update(signed).digest('base64url')}`;
    }
}
