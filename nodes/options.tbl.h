/* Every option, once: the flags, the environment variables, the keys of the config file, `config
 * check` and --help all come from these rows.
 *
 * OPTION(name, kind, commands, path, flag, metavar, initial, least, most, "prose")
 *   name      member of struct config
 *   kind      text, path, list, choice (metavar is its values), number, duration (seconds), boolean
 *   commands  which commands take it: R router, G gateway, D dev, S status, T token, O the commands
 *             about one router: drain, undrain, remove; W drain alone
 *   path      key in the config file; "" where it has none
 *   flag      --flag; the environment variable is CHATMESH_FLAG, with - as _
 *   initial   default: TEXT(x) or NUMBER(x), least..most bounds a number
 * A path from the file counts from the file's own folder. */
OPTION(config, list, R | G | D | S | T | O, "", "config", "FILE", TEXT(NULL), 0, 0,
       "a config file in ZPL; may be given several times, a later one wins")
OPTION(id, text, R | G, "node/id", "id", "ID", TEXT(NULL), 0, 0,
       "the node's name: 1 to 15 of [A-Za-z0-9_-], unique in the cluster")
OPTION(data, path, R | D | S | T | O, "node/data", "data", "DIR", TEXT(NULL), 0, 0,
       "the data directory; of a router its own, else that of a dev cluster")
OPTION(zone, text, R | G, "node/zone", "zone", "ZONE", TEXT(NULL), 0, 0,
       "where the node stands: the replicas of a shard are spread over zones")
OPTION(weight, number, R, "node/weight", "weight", "N", NUMBER(100), 1, 1000,
       "how much this router holds, against others of 100")

OPTION(listen, text, R, "mesh/listen", "listen", "ENDPOINT", TEXT("tcp://127.0.0.1:7400"), 0, 0,
       "the router's mesh endpoint; the next two ports are used as well")
OPTION(advertise, text, R | G, "mesh/advertise", "advertise", "HOST", TEXT(NULL), 0, 0,
       "the host others reach this node by, where it listens on every address")
OPTION(join, list, R | G | S | O, "mesh/join", "join", "ENDPOINT", TEXT(NULL), 0, 0,
       "a router to join by; may be given several times")
OPTION(key, path, R | G | S | O, "mesh/key", "key", "FILE", TEXT(NULL), 0, 0,
       "the cluster key file (chatmesh keygen); without it only loopback is used")
OPTION(shards, number, R | D, "cluster/shards", "shards", "N", NUMBER(LIMIT_SHARDS_DEFAULT), 1,
       LIMIT_SHARDS_MAX, "shards of a new cluster, fixed at its birth")
OPTION(replicas, number, R | D, "cluster/replicas", "replicas", "N", NUMBER(LIMIT_REPLICAS_DEFAULT),
       1, LIMIT_REPLICAS_MAX, "replicas of each shard of a new cluster, an odd number")
OPTION(grace, duration, R | D, "cluster/grace", "grace", "TIME",
       NUMBER(LIMIT_ROUTER_GRACE_MS / 1000), 3, 2592000,
       "a router silent for so long has its shards held elsewhere")
OPTION(http, text, R, "router/http", "http", "[ADDRESS:]PORT", TEXT(NULL), 0, 0,
       "where monitors find GET /health and /metrics, on 127.0.0.1 unless told; off if not set")
OPTION(handover_ms, number, R | D, "router/handover_ms", "handover-ms", "MS", NUMBER(5000), 0,
       600000, "time a router has at SIGTERM to hand over what it leads")

OPTION(webhook, text, R | D, "push/url", "webhook", "URL", TEXT(NULL), 0, 0,
       "where routers post what offline members have missed")
OPTION(webhook_secret, text, R | D, "push/secret", "webhook-secret", "SECRET", TEXT(NULL), 0, 0,
       "what those posts are signed with; others on the machine see it here: better in a file")
OPTION(webhook_secret_file, path, R | D, "push/secret_file", "webhook-secret-file", "FILE",
       TEXT(NULL), 0, 0, "a file with the secret on its first line, which not everybody may read")

OPTION(bind, text, G | D, "http/bind", "bind", "ADDRESS", TEXT("0.0.0.0"), 0, 0,
       "address that clients connect to; dev takes 127.0.0.1 unless told otherwise")
OPTION(port, number, G | D, "http/port", "port", "PORT", NUMBER(8080), 1, 65535,
       "port that clients connect to; in dev, of the first gateway")
OPTION(origin, list, G | D, "http/origin", "origin", "ORIGIN", TEXT(NULL), 0, 0,
       "a web origin allowed to connect, as https://chat.example.org; may be given several times")
OPTION(url, list, G | D, "http/url", "url", "URL", TEXT(NULL), 0, 0,
       "where clients find a gateway of this cluster, as wss://chat2.example.org/ws: those of this "
       "one try it when it does not answer; may be given several times")
OPTION(dev_tokens, boolean, G, "http/dev_tokens", "dev-tokens", "", NUMBER(0), 0, 1,
       "give anybody a token at POST /v1/dev/token: for a machine of one's own only")
OPTION(drain_ms, number, G | D, "gateway/drain_ms", "drain-ms", "MS", NUMBER(5000), 0, 600000,
       "time over which clients are sent away at SIGTERM")

OPTION(issuer, text, G | D | T, "auth/issuer", "issuer", "NAME", TEXT(NULL), 0, 0,
       "what a token's iss must be; any if not set")
OPTION(audience, text, G | D | T, "auth/audience", "audience", "NAME", TEXT(NULL), 0, 0,
       "what a token's aud must be; any if not set")
OPTION(leeway_s, number, G | D, "auth/leeway_s", "leeway-s", "S", NUMBER(5), 0, 300,
       "a token is taken so long before its nbf, since clocks differ; exp is exact")
OPTION(api_key, list, G | D, "auth/api_key", "api-key", "NAME:SHA256", TEXT(NULL), 0, 0,
       "a key of the HTTP API, as chatmesh apikey prints it; may be given several times")

OPTION(connections_per_user, number, G | D, "limits/connections_per_user", "connections-per-user",
       "N", NUMBER(LIMIT_CONNECTIONS_PER_USER), 0, 1000000, "per gateway; 0: no limit")
OPTION(connections_per_ip, number, G | D, "limits/connections_per_ip", "connections-per-ip", "N",
       NUMBER(LIMIT_CONNECTIONS_PER_IP), 0, 10000000, "per gateway; 0: no limit")
OPTION(reconnects_per_minute, number, G | D, "limits/reconnects_per_minute",
       "reconnects-per-minute", "N", NUMBER(LIMIT_RECONNECTS_PER_MIN), 0, 1000000,
       "of one user; 0: no limit")
OPTION(frames_per_second, number, G | D, "limits/frames_per_second", "frames-per-second", "N",
       NUMBER(LIMIT_FRAMES_PER_SECOND), 0, 1000000, "of one session; 0: no limit")
OPTION(bytes_per_second, number, G | D, "limits/bytes_per_second", "bytes-per-second", "BYTES",
       NUMBER(LIMIT_BYTES_PER_SECOND), 0, 4294967295, "of one session; 0: no limit")
OPTION(accepts_per_second, number, G | D, "limits/accepts_per_second", "accepts-per-second", "N",
       NUMBER(LIMIT_ACCEPTS_PER_SECOND), 0, 10000000,
       "WebSockets of a crowd are let in at this pace, the others wait; 0: as they come")
OPTION(connections, number, G | D, "limits/connections", "connections", "N",
       NUMBER(LIMIT_CONNECTIONS), 1, 10000000, "of one gateway; more are closed with 4029")
OPTION(frame_bytes, number, G | D, "limits/frame_bytes", "frame-bytes", "BYTES",
       NUMBER(LIMIT_FRAME_SIZE_MAX), 1024, LIMIT_FRAME_SIZE_MAX, "the largest client frame")
OPTION(outbox_bytes, number, G | D, "limits/outbox_bytes", "outbox-bytes", "BYTES",
       NUMBER(LIMIT_OUTBOX_BYTES), 65536, 67108864,
       "waiting for one client; beyond, it catches up from the log")
OPTION(ping_ms, number, G | D, "limits/ping_ms", "ping-ms", "MS", NUMBER(LIMIT_PING_MS), 100,
       3600000, "how often the gateway pings a client")
OPTION(idle_ms, number, G | D, "limits/idle_ms", "idle-ms", "MS", NUMBER(LIMIT_IDLE_MS), 200,
       7200000, "a client silent for so long is closed")
OPTION(connect_ms, number, G | D, "limits/connect_ms", "connect-ms", "MS", NUMBER(LIMIT_CONNECT_MS),
       100, 600000, "time a client has to say who it is")
OPTION(request_ms, number, G | D, "limits/request_ms", "request-ms", "MS", NUMBER(LIMIT_REQUEST_MS),
       100, 60000, "time a router has to answer")
OPTION(gather_us, number, G | D, "limits/gather_us", "gather-us", "US", NUMBER(LIMIT_GATHER_US), 0,
       100000, "a request waits so long for company on its way to the router")
OPTION(fanout_members, number, G | D, "limits/fanout_members", "fanout-members", "N",
       NUMBER(LIMIT_FANOUT_MEMBERS), 1, 1000000000,
       "in a larger conversation entries are pushed only to who has it open")
OPTION(redeliver_ms, number, G | D, "limits/redeliver_ms", "redeliver-ms", "MS",
       NUMBER(LIMIT_REDELIVER_MS), 100, 3600000,
       "what a client that acknowledges has not acknowledged for so long is pushed again")
OPTION(resume_count, number, R | D, "limits/resume_count", "resume-count", "N",
       NUMBER(LIMIT_RESUME_COUNT), 1, LIMIT_RESUME_COUNT,
       "entries replayed on resume; more missed is announced as a gap")
OPTION(queue_bytes, number, R | D, "limits/queue_bytes", "queue-bytes", "BYTES",
       NUMBER(LIMIT_SHARD_QUEUE_BYTES), 65536, 1073741824,
       "waiting for one shard's log; beyond, requests are told to retry")
OPTION(requests_in_flight, number, R | D, "limits/requests_in_flight", "requests-in-flight", "N",
       NUMBER(LIMIT_ROUTER_IN_FLIGHT), 0, 10000000,
       "of one router, waiting for its logs; beyond, requests are told to retry; 0: no limit")
OPTION(messages_per_second, number, R | D, "limits/messages_per_second", "messages-per-second", "N",
       NUMBER(LIMIT_CONV_MESSAGES), 0, 10000000, "to one conversation; 0: no limit")
OPTION(truncate_count, number, R | D, "limits/truncate_count", "truncate-count", "N",
       NUMBER(LIMIT_LOG_TRUNCATE_COUNT), 16, 1048576,
       "applied log entries kept before the log's prefix is dropped")

OPTION(log_level, choice, R | G | D, "log/level", "log-level", "debug|info|warn|error",
       TEXT("info"), 0, 0, "the least level that is logged")
OPTION(log_format, choice, R | G | D, "log/format", "log-format", "text|json", TEXT("text"), 0, 0,
       "one line an event: key=value, or JSON")

OPTION(routers, number, D, "", "routers", "N", NUMBER(3), 1, DEV_ROUTERS_MAX,
       "routers to start, r1, r2, ...")
OPTION(zones, number, D, "", "zones", "N", NUMBER(0), 0, DEV_ROUTERS_MAX,
       "spread them over so many zones, z1, z2, ...; 0: none")
OPTION(gateways, number, D, "", "gateways", "N", NUMBER(2), 1, 99,
       "gateways to start, on --port and the ports after it")
OPTION(mesh_port, number, D, "", "mesh-port", "PORT", NUMBER(0), 0, 65000,
       "first mesh port on 127.0.0.1; 0: ports that are free")
OPTION(respawn, boolean, D, "", "respawn", "", NUMBER(0), 0, 1, "start a node that died again")
OPTION(no_limits, boolean, D, "", "no-limits", "", NUMBER(0), 0, 1,
       "lift the limits per user, per IP and on rates: for load tests")

OPTION(json, boolean, S, "", "json", "", NUMBER(0), 0, 1, "print one JSON object")
OPTION(timeout_ms, number, S | O, "", "timeout-ms", "MS", NUMBER(3000), 100, 60000,
       "how long to wait for the cluster")
OPTION(wait, boolean, W, "", "wait", "", NUMBER(1), 0, 1,
       "stay until a drain is done; --wait=false returns once it is ordered")

OPTION(user, text, T, "", "user", "NAME", TEXT(NULL), 0, 0, "whom the token is for")
OPTION(device, text, T, "", "device", "NAME", TEXT(NULL), 0, 0, "bind the token to this device")
OPTION(ttl, duration, T, "", "ttl", "TIME", NUMBER(86400), 1, 315360000,
       "how long it is good for: 90s, 15m, 24h, 7d")
