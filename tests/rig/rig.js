// rig - a real cluster, real clients, and everything that can go wrong between them.
//
//     node rig.js [--minutes 2] [--seed 1] [--routers 3] [--gateways 2] [--keep] …
//     node rig.js --short            for scripts/test: two minutes of faults
//     node rig.js --failover 50      how long a shard waits when its leader is killed
//     node rig.js --rolling          how long clients wait when every node is restarted in turn
//
// Happy path: a cluster starts in a sandbox (sandbox.js), people talk (load.js), faults come and go
// (faults.js), then all heals, everything said must be acknowledged and delivered, and the history
// is held against the log (checks.js).
//
// Failure modes: a violation is printed when it is seen and does not end the run; history, logs and
// data are kept, and the exit code is 1. What the rig itself cannot do ends it, with 2.
import { fileURLToPath } from 'node:url';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

import { inside, runInside } from './sandbox.js';

const { values: options } = parseArgs({
    options: {
        minutes: { type: 'string', default: '2' },
        seed: { type: 'string', default: '1' },
        routers: { type: 'string', default: '3' },
        gateways: { type: 'string', default: '2' },
        users: { type: 'string', default: '8' },
        audience: { type: 'string', default: '16' },
        rate: { type: 'string', default: '100' },
        only: { type: 'string', default: '' },
        binary: { type: 'string' },
        keep: { type: 'boolean', default: false },
        short: { type: 'boolean', default: false },
        failover: { type: 'string' },
        rolling: { type: 'boolean', default: false },
        'log-level': { type: 'string', default: 'info' },
        loopback: { type: 'boolean', default: false },
    },
});

if (!inside.is) {
    if (options.binary !== undefined) process.env.CHATMESH = resolve(options.binary);
    const script = fileURLToPath(import.meta.url);
    const wantsNetwork = !options.loopback;
    process.exitCode = await runInside(script, process.argv.slice(2), { wantsNetwork });
} else {
    process.on('disconnect', () => process.exit(1));
    const { main } = await import('./run.js');
    const code = await main(options).catch((error) => {
        console.error(error);
        return 2;
    });
    process.exit(code); // And with the first process of the sandbox, all others.
}
