// sandbox - the world in which the cluster runs and its faults happen.
//
// The rig starts itself again in namespaces of its own: network (so no address or rule of the
// machine is touched), mount (tmpfs disks), and process ids. The process in there is the first of
// its namespace: when it ends, however it ends, the kernel kills every node and takes back
// interfaces, rules and mounts. So nothing is ever left to clean but one folder, and the next run
// removes folders of runs that died.
//
// Needs no root where users may make namespaces. Where neither is allowed, the rig says so and runs
// on 127.0.0.1, without the faults of network and disk space.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PREFIX = 'chatmesh-rig-';
const PROBE = `set -e
mount -t tmpfs none /run
mkdir /run/netns
ip netns add probe
ip link add hub type bridge
ip link add veth0 type veth peer name eth0 netns probe
nsenter --net=/run/netns/probe nft list tables
`;

/** What the process inside finds in its environment. */
export const inside = {
    is: process.env.RIG_FOLDER !== undefined,
    folder: process.env.RIG_FOLDER,
    hasNetwork: process.env.RIG_NETWORK === 'yes',
};

function unshareFlags() {
    const user = process.getuid() === 0 ? [] : ['--user', '--map-root-user'];
    return [
        ...user,
        ...['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'],
        ...['--propagation', 'private'],
    ];
}

/** Why there can be no namespaces; null where there can. */
function whyNot(environment) {
    const options = { env: environment, encoding: 'utf8' };
    const probe = spawnSync('unshare', [...unshareFlags(), 'sh', '-c', PROBE], options);
    if (probe.error) return probe.error.message;
    return probe.status === 0 ? null : probe.stderr.trim().split('\n')[0];
}

function isAlive(pid) {
    try {
        process.kill(pid, 0);
        return true;
    } catch (error) {
        return error.code === 'EPERM';
    }
}

function removeStaleFolders() {
    for (const name of readdirSync(tmpdir())) {
        const pid = new RegExp(`^${PREFIX}([0-9]+)$`).exec(name)?.[1];
        if (pid !== undefined && !isAlive(Number(pid)))
            rmSync(join(tmpdir(), name), { recursive: true, force: true });
    }
}

/** Run `script` with `args` in a sandbox, to its end. Returns the exit code. */
export async function runInside(script, args, { wantsNetwork = true } = {}) {
    const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;
    const reason = wantsNetwork ? whyNot({ ...process.env, PATH }) : 'not asked for';
    if (reason !== null)
        console.log(`no namespaces (${reason}): all on 127.0.0.1, without partitions, full disks`);
    removeStaleFolders();
    const folder = join(tmpdir(), `${PREFIX}${process.pid}`);
    mkdirSync(folder);
    const command = [process.execPath, script, ...args];
    if (reason === null) command.unshift('unshare', ...unshareFlags());
    const child = spawn(command[0], command.slice(1), {
        env: {
            ...process.env,
            PATH,
            RIG_FOLDER: folder,
            RIG_NETWORK: reason === null ? 'yes' : 'no',
        },
        // The channel tells the one inside when this process is gone.
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    let asked = 0;
    const stop = () => {
        if (asked++ === 0 && child.connected) child.send('stop');
        else child.kill('SIGKILL');
    };
    process.on('SIGINT', stop);
    process.on('SIGTERM', stop);
    const code = await new Promise((resolve) => {
        child.on('error', (error) => {
            console.error(error.message);
            resolve(1);
        });
        child.on('exit', (status) => resolve(status ?? 1));
    });
    if (existsSync(join(folder, 'keep'))) {
        rmSync(join(folder, 'keep'));
        const kept = `${folder.replace(PREFIX, 'chatmesh-kept-')}-${Date.now()}`;
        renameSync(folder, kept);
        console.log(`kept in ${kept}`);
    } else {
        rmSync(folder, { recursive: true, force: true });
    }
    return code;
}
