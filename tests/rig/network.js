// network - one network namespace a node, joined by a bridge; and the cuts between them.
//
// Every node's namespace drops what comes from the addresses in its set `deaf`: so a cut has a
// direction, takes connections that are there and those that are tried, and is one transaction of
// nft per node. The clients are in the rig's own namespace, as the name CLIENTS.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';

export const CLIENTS = 'clients';
const SUBNET = '10.77.0.';
const HUB_ADDRESS = `${SUBNET}254`;
const RULES = `table ip rig {
    set deaf { type ipv4_addr; }
    chain input { type filter hook input priority 0; ip saddr @deaf counter drop; }
}
`;

function run(command, args, input) {
    const done = spawnSync(command, args, { input, encoding: 'utf8' });
    if (done.status !== 0)
        throw new Error(`${command} ${args.join(' ')}: ${done.error ?? done.stderr}`);
    return done.stdout;
}

const lines = (list) => `${list.join('\n')}\n`;

export class Network {
    #deaf = new Map(); // Node to the sorted nodes it does not hear, as one text.

    constructor() {
        this.addresses = new Map([[CLIENTS, HUB_ADDRESS]]);
        run('mount', ['-t', 'tmpfs', 'none', '/run']);
        mkdirSync('/run/netns');
        const setup = [
            'link set lo up',
            'link add hub type bridge',
            `address add ${HUB_ADDRESS}/24 dev hub`,
            'link set hub up',
        ];
        run('ip', ['-batch', '-'], lines(setup));
        this.#nft(CLIENTS, ['-f', '-'], RULES);
    }

    /** Words that run a command as this node. */
    as(node) {
        return ['nsenter', `--net=/run/netns/${node}`, '--'];
    }

    /** Returns the node's address. */
    add(node) {
        const number = this.addresses.size;
        const address = `${SUBNET}${number}`;
        this.addresses.set(node, address);
        run('ip', ['-batch', '-'], lines([
            `netns add ${node}`,
            `link add veth${number} type veth peer name eth0 netns ${node}`,
            `link set veth${number} master hub up`,
        ]));
        const own = ['link set lo up', `address add ${address}/24 dev eth0`, 'link set eth0 up'];
        run('ip', ['-netns', node, '-batch', '-'], lines(own));
        this.#nft(node, ['-f', '-'], RULES);
        return address;
    }

    #nft(node, args, input) {
        const words = node === CLIENTS ? ['nft'] : [...this.as(node), 'nft'];
        return run(words[0], [...words.slice(1), ...args], input);
    }

    /** From now on exactly these are cut: [from, to] means that `to` does not hear `from`. */
    cut(pairs) {
        const wanted = new Map();
        for (const [from, to] of pairs) wanted.set(to, [...(wanted.get(to) ?? []), from]);
        for (const node of this.addresses.keys()) {
            const from = [...new Set(wanted.get(node) ?? [])].sort();
            const key = from.join(' ');
            if (key === (this.#deaf.get(node) ?? '')) continue;
            this.#deaf.set(node, key);
            const addresses = from.map((other) => this.addresses.get(other)).join(', ');
            const add = from.length > 0 ? `add element ip rig deaf { ${addresses} }\n` : '';
            this.#nft(node, ['-f', '-'], `flush set ip rig deaf\n${add}`);
        }
    }

    heal() {
        this.cut([]);
    }

    /** Packets that were dropped so far: a cut that drops nothing is no cut. */
    dropped() {
        let packets = 0;
        for (const node of this.addresses.keys()) {
            const text = this.#nft(node, ['list', 'chain', 'ip', 'rig', 'input']);
            packets += Number(/counter packets ([0-9]+)/.exec(text)[1]);
        }
        return packets;
    }
}

/** Both ways between each of `some` and each of `others`. */
export function between(some, others) {
    return some.flatMap((a) => others.flatMap((b) => (a === b ? [] : [[a, b], [b, a]])));
}
