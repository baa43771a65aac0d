// admin - the cluster page: GET /v1/cluster every two seconds, as figures, nodes and shards.
//
// Everything shown comes from that answer; the rate is the difference between two of them. The API
// key is typed once and kept in this tab; a development cluster needs none.

const POLL_MS = 2000;
const SAMPLES = 60; // Of the rate: two minutes.
const CONTROL_GROUP = 4096;
const COLOURS = [
    '#4a56c8', '#1b7c64', '#b4552d', '#8a3ea8', '#2f77b5', '#8a6d12', '#b03a6b', '#4d7a2a', '#5b6472',
];

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat();
const rates = [];
let before = null; // The counts of the answer before: {ms, messages}.
let chosen = null; // A shard's number.
let shown = null;
let timer = 0;

/** An element with properties, attributes given with a leading '@', and children. */
function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
        if (value === undefined || value === false) continue;
        if (name.startsWith('@')) element.setAttribute(name.slice(1), value);
        else if (name.startsWith('--')) element.style.setProperty(name, value);
        else element[name] = value;
    }
    element.append(...children.filter((child) => child !== undefined));
    return element;
}

// ---- Asking ----

function headers() {
    const key = sessionStorage.getItem('chatmesh.key');
    return key ? { Authorization: `Bearer ${key}` } : {};
}

function say(mood, text) {
    $('state').dataset.mood = mood;
    $('state').textContent = text;
}

function askForKey(reason) {
    $('cluster-view').hidden = true;
    $('login').hidden = false;
    $('refused').hidden = reason === null;
    $('refused').textContent = reason ?? '';
    say('warn', 'a key is needed');
    $('key').focus();
}

async function poll() {
    clearTimeout(timer);
    try {
        const response = await fetch('/v1/cluster', { headers: headers(), cache: 'no-store' });
        const body = await response.json();
        if (response.status === 401 || response.status === 403) {
            askForKey(sessionStorage.getItem('chatmesh.key') ? body.error.message : null);
            sessionStorage.removeItem('chatmesh.key');
            return;
        }
        if (!response.ok) throw new Error(body.error?.message ?? `status ${response.status}`);
        $('login').hidden = true;
        $('cluster-view').hidden = false;
        show(body);
    } catch (error) {
        say('bad', `this gateway does not answer: ${error.message}`);
    }
    timer = setTimeout(poll, POLL_MS);
}

// ---- What the answer says ----

const isGateway = (node) => node.role === 'gateway';

/** Of each group, what its leader of the highest term says; by number. */
function groupsOf(cluster) {
    const groups = new Map();
    for (const router of cluster.routers)
        for (const group of router.groups ?? []) {
            if (group.state !== 'leader' || group.shard === CONTROL_GROUP) continue;
            const known = groups.get(group.shard);
            if (known === undefined || known.term < group.term)
                groups.set(group.shard, { ...group, leader: router.id });
        }
    return groups;
}

/** What gateways last told any router of themselves. */
function sessionsOf(cluster) {
    const gateways = new Map();
    for (const router of cluster.routers)
        for (const { id, sessions, users } of router.watchers ?? []) gateways.set(id, { sessions, users });
    return gateways;
}

/** Messages a second: each is counted once by every replica. */
function measure(cluster, groups) {
    const counts = cluster.routers.map((router) => router.counters?.messages ?? 0);
    const messages = counts.reduce((sum, count) => sum + count, 0);
    const replicas = [...groups.values()].reduce((sum, group) => sum + group.replicas.length, 0);
    const copies = groups.size > 0 ? Math.max(1, replicas / groups.size) : 1;
    const ms = performance.now();
    if (before !== null && before.routers === cluster.routers.length && messages >= before.messages) {
        rates.push(((messages - before.messages) / copies / (ms - before.ms)) * 1000);
        if (rates.length > SAMPLES) rates.shift();
    }
    before = { ms, messages, routers: cluster.routers.length };
}

// ---- Figures ----

function sparkline() {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
    const top = Math.max(1, ...rates);
    const points = rates.map((rate, i) => `${i + SAMPLES - rates.length},${20 - (rate / top) * 18}`);
    svg.setAttribute('viewBox', `0 0 ${SAMPLES} 21`);
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('aria-hidden', 'true');
    line.setAttribute('points', points.join(' '));
    svg.append(line);
    return svg;
}

function figure(name, value, note, more) {
    return make(
        'div',
        { className: 'figure' },
        make('span', { className: 'quiet', textContent: name }),
        make('strong', { textContent: value }),
        note === undefined ? undefined : make('span', { className: 'quiet', textContent: note }),
        more,
    );
}

function showFigures(cluster, sessions) {
    const total = (name) => [...sessions.values()].reduce((sum, each) => sum + each[name], 0);
    const rate = rates.at(-1) ?? 0;
    const { pending, bytes } = cluster.moves;
    $('figures').replaceChildren(
        figure('Messages a second', number.format(rate < 10 ? Math.round(rate * 10) / 10 : Math.round(rate)), undefined, sparkline()),
        figure('Connections', number.format(total('sessions')), `${number.format(total('users'))} user${total('users') === 1 ? '' : 's'}, counted on each gateway`),
        figure('Shards led', `${cluster.shards.led} / ${cluster.shards.total}`),
        figure('Moves pending', number.format(pending), bytes > 0 ? `${size(bytes)} sent so far` : 'nothing was moved'),
    );
}

function size(bytes) {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let unit = 0;
    for (; bytes >= 1024 && unit < units.length - 1; unit++) bytes /= 1024;
    return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`;
}

function since(ms) {
    const seconds = Math.max(0, Math.round((Date.now() - ms) / 1000));
    if (seconds < 120) return `up ${seconds} s`;
    if (seconds < 7200) return `up ${Math.round(seconds / 60)} min`;
    if (seconds < 172800) return `up ${Math.round(seconds / 3600)} h`;
    return `up ${Math.round(seconds / 86400)} days`;
}

// ---- Nodes ----

function card(id, mood, state, note, facts, more) {
    const list = make('dl');
    for (const [name, value] of facts)
        list.append(make('dt', { textContent: name }), make('dd', { textContent: value }));
    return make(
        'article',
        { className: 'card' },
        make(
            'header',
            {},
            make('span', { className: 'dot', '@data-mood': mood }),
            make('h3', { textContent: id }),
            make('span', { className: 'quiet', textContent: state }),
        ),
        make('p', { className: 'quiet', textContent: note }),
        list,
        more,
    );
}

function routerCard(member, node, colour, shards) {
    const mood = !member.up ? 'bad' : member.state === 'active' ? 'good' : 'warn';
    const state = member.up ? (member.state === 'active' ? since(node?.up_since ?? Date.now()) : member.state) : 'down';
    const note = [node?.address, member.zone && `zone ${member.zone}`].filter(Boolean).join(' · ');
    return card(
        member.id,
        mood,
        state,
        note || 'not heard',
        [
            ['Shards led', number.format(member.led)],
            ['Replicas', number.format(member.replicas)],
            ['Moves pending', number.format(member.moves.pending)],
        ],
        make(
            'div',
            { className: 'bar' },
            make('span', { '--colour': colour, '--part': `${(member.led / Math.max(1, shards)) * 100}%` }),
        ),
    );
}

function showNodes(cluster, sessions, colours) {
    const nodes = new Map(cluster.nodes.map((node) => [node.id, node]));
    const members = cluster.members.filter((member) => member.up || member.state !== 'removed');
    $('routers').replaceChildren(
        ...members.map((member) =>
            routerCard(member, nodes.get(member.id), colours.get(member.id), cluster.shards.total),
        ),
    );
    const gateways = cluster.nodes.filter(isGateway);
    $('gateways').replaceChildren(
        ...gateways.map((node) =>
            card(node.id, node.state === 'up' ? 'good' : 'warn', node.state === 'up' ? since(node.up_since) : node.state, node.address, [
                ['Connections', number.format(sessions.get(node.id)?.sessions ?? 0)],
                ['Users', number.format(sessions.get(node.id)?.users ?? 0)],
            ]),
        ),
    );
}

// ---- Shards ----

function describe(index, group) {
    if (group === undefined) return `Shard ${index}: nobody leads it at the moment.`;
    const standing = group.replicas.map((name) => (name.endsWith('~') ? `${name.slice(0, -1)} (copy)` : name));
    return (
        `Shard ${index}: led by ${group.leader} in term ${number.format(group.term)}, held by ${standing.join(', ')}; ` +
        `${number.format(group.applied)} log entries${group.moving ? ', being moved' : ''}.`
    );
}

function choose(index) {
    chosen = index;
    showShards(shown.cluster, shown.groups, shown.colours);
}

/** The squares stay, so that the focus does: only what they say changes. */
function showShards(cluster, groups, colours) {
    const box = $('shards');
    while (box.childElementCount > cluster.shards.total) box.lastElementChild.remove();
    for (let i = box.childElementCount; i < cluster.shards.total; i++)
        box.append(make('button', { type: 'button', textContent: i, onclick: () => choose(i) }));
    [...box.children].forEach((button, index) => {
        const group = groups.get(index);
        button.toggleAttribute('data-lost', group === undefined);
        button.toggleAttribute('data-moving', group?.moving === true);
        button.style.setProperty('--colour', colours.get(group?.leader) ?? 'transparent');
        button.setAttribute('aria-pressed', String(index === chosen));
        button.title = describe(index, group);
        button.setAttribute('aria-label', button.title);
    });
    if (chosen !== null) $('shard').textContent = describe(chosen, groups.get(chosen));
    $('legend').replaceChildren(
        ...[...colours].map(([id, colour]) =>
            make('li', {}, make('span', { className: 'swatch', '--colour': colour }), id),
        ),
    );
}

function show(cluster) {
    const groups = groupsOf(cluster);
    const sessions = sessionsOf(cluster);
    const routers = cluster.members.filter((member) => member.up || member.state !== 'removed');
    const colours = new Map(routers.map(({ id }, i) => [id, COLOURS[i % COLOURS.length]]));
    shown = { cluster, groups, colours };
    measure(cluster, groups);
    $('cluster').textContent = cluster.cluster;
    showFigures(cluster, sessions);
    showNodes(cluster, sessions, colours);
    showShards(cluster, groups, colours);
    const missing = cluster.shards.total - cluster.shards.led;
    const down = routers.filter((member) => !member.up).length;
    if (cluster.shards.total === 0 || missing > 0)
        say('bad', cluster.shards.total === 0 ? 'no router answers' : `${missing} shards have no leader`);
    else if (down > 0) say('warn', `${down} router${down === 1 ? ' is' : 's are'} down`);
    else if (cluster.moves.pending > 0) say('warn', 'shards are being moved');
    else say('good', 'all is well');
}

$('login').addEventListener('submit', (event) => {
    event.preventDefault();
    sessionStorage.setItem('chatmesh.key', $('key').value.trim());
    $('key').value = '';
    poll();
});
document.addEventListener('visibilitychange', () => {
    if (!document.hidden) poll();
    else clearTimeout(timer);
});
poll();
