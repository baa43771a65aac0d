// run - one run inside the sandbox, in one of three modes.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { sleep } from '../integration/cluster.js';
import { Book } from './book.js';
import { checkAll } from './checks.js';
import { Cluster } from './cluster.js';
import { failover, rolling } from './measure.js';
import { Deck, FAULTS, Scene } from './faults.js';
import { Load } from './load.js';
import { terms } from './placement.js';
import { Random } from './random.js';
import { printCounts, printPauses } from './report.js';
import { inside } from './sandbox.js';

const CALM_MS = [500, 3000]; // Between two faults.
const LONGEST_MS = 20000; // What one fault lasts at most,
const LONGEST_SHORT_MS = 5000; // and in a short run.
const GRACE_MS = 10000; // A router silent for so long has its copies made elsewhere.
const GROWTH = 2; // Routers added at most.

async function storm(world, load, options, isAsked) {
    const { cluster, book, random } = world;
    const scene = new Scene({
        ...world,
        people: [...load.people.values()],
        longestMs: options.short ? LONGEST_SHORT_MS : LONGEST_MS,
        routersMax: cluster.routers.length + GROWTH,
    });
    const pattern = new RegExp(options.only);
    const deck = new Deck(random, FAULTS.filter(({ kind }) => pattern.test(kind)));
    const end = performance.now() + Number(options.minutes) * 60000;
    while (performance.now() < end && !isAsked()) {
        await sleep(random.between(...CALM_MS));
        const card = deck.draw(scene);
        if (card === null) continue;
        const fault = book.begin(card.kind, '');
        fault.what = await card.run(scene);
        fault.endedAt = performance.now();
        // Half of the faults end before the next begins, the others meet what is left of them.
        if (random.chance(0.5)) await load.recovered(fault.endedAt);
        const lasted = ((fault.endedAt - fault.begunAt) / 1000).toFixed(1);
        book.say(`${card.kind}: ${fault.what}, ${lasted} s; acknowledged ${book.acked.size}`);
    }
}

/** The rig does what it says: syncs pass through the shim, cuts drop packets. */
function checkRig({ cluster, book }) {
    for (const { id, disk } of cluster.routers)
        if (cluster.shim !== null && disk.syncs === 0)
            book.fault('rig', `no sync of ${id} passed through the shim`);
    const cuts = book.faults.filter(({ kind }) => /^F[678]/.test(kind)).length;
    if (cluster.network === null || cuts === 0) return;
    const dropped = cluster.network.dropped();
    book.count('packets dropped', dropped);
    if (dropped === 0) book.fault('rig', 'the cuts dropped nothing');
}

export async function main(options) {
    const book = new Book();
    const random = new Random(Number(options.seed));
    const isMeasure = options.failover !== undefined || options.rolling;
    let asked = false;
    process.on('message', () => {
        asked = true;
    });
    book.say(`seed ${options.seed}, ${options.routers} routers, ${options.gateways} gateways`);
    const cluster = await Cluster.start({
        book,
        folder: inside.folder,
        hasNetwork: inside.hasNetwork,
        routersAtFirst: Number(options.routers),
        gatewaysAtFirst: Number(options.gateways),
        // Figures are worth something on a real disk only; faults want one that can be filled.
        hasOwnDisks: !isMeasure && inside.hasNetwork,
        syncMs: isMeasure ? 0 : 1,
        graceMs: GRACE_MS,
        nodeFlags: ['--log-level', options['log-level']],
        routerFlags: isMeasure ? [] : ['--truncate-count', '64'],
    }).catch((error) => {
        console.error(error.message);
        return null;
    });
    if (cluster === null) return 2;
    const world = { cluster, book, random };
    const load = new Load(world, {
        users: Number(options.users),
        audience: Number(options.audience),
        rate: Number(options.rate),
        patienceMs: isMeasure ? 20 : 1000,
    });
    await load.start();
    book.say('everybody talks');
    const before = terms(await cluster.status());
    if (options.failover !== undefined) await failover(world, load, Number(options.failover));
    else if (options.rolling) await rolling(world, load);
    else await storm(world, load, options, () => asked);
    book.say('calm');
    await load.settle();
    book.count('elections', terms(await cluster.status()) - before);
    const onFailure = (error) => book.fault('C11', error.message); // Somebody was not answered.
    await checkAll(book, cluster, load).catch(onFailure);
    checkRig(world);
    await load.stop();
    await cluster.stop();
    cluster.scanLogs();
    return finish(world, options, isMeasure);
}

async function finish({ cluster, book }, options, isMeasure) {
    if (!isMeasure) printPauses(book);
    printCounts(book);
    const isHeld = book.violations.length === 0;
    if (!isHeld || options.keep) {
        await book.save(cluster.folder);
        writeFileSync(join(cluster.folder, 'options.json'), JSON.stringify(options));
        cluster.save();
    }
    console.log(isHeld ? 'held' : `${book.violations.length} VIOLATIONS; seed ${options.seed}`);
    return isHeld ? 0 : 1;
}
