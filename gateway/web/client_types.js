/**
 * client_types - the words of the client as JSDoc types. No code: a program never loads it.
 *
 * client.js gives them on, so that `import('./client.js').Entry` is all one needs to know.
 *
 * @module
 */

/** @typedef {any} Json Any JSON value; the server keeps it byte for byte. */

/* ---- What the server says ---- */

/**
 * An entry of a conversation's log. A message bears what later entries made of it, up to when it
 * was read from the log: the entries that did so come in their turn all the same. An edit that was
 * overtaken by then, which its `edited` or `deleted` says, has a null body and is to be ignored.
 * @typedef {object} Entry
 * @property {'message'|'edit'|'delete'|'reaction'|'member'|'info'} type
 * @property {string} conv
 * @property {number} seq
 * @property {number} ts
 * @property {string} from Empty where the operator did it.
 * @property {string} [cid]
 * @property {Json} [body] Of a message: as it reads now, null where it was deleted. Of an edit.
 * @property {number} [reply_to]
 * @property {{seq: number, ts: number}} [edited] Of a message: the last edit that is in `body`.
 * @property {boolean} [deleted] Of a message: it was deleted since.
 * @property {{emoji: string, count: number}[]} [reactions] Of a message: when this was read.
 * @property {number} [target] Which seq an edit, delete or reaction is about.
 * @property {string} [emoji]
 * @property {boolean} [on]
 * @property {string} [change] Of `member`: joined, left (removed, where `from` is another), role.
 * @property {string} [user] Of `member`: whom it is about.
 * @property {string} [role]
 * @property {string | null} [title] Of `info`; null: it was taken away.
 * @property {Json} [meta]
 */
/**
 * @typedef {{type: 'sent', conv: string, cid: string, seq: number, ts: number, dup?: boolean}} Sent
 */
/**
 * @typedef {object} Welcome
 * @property {string} session
 * @property {string} user
 * @property {string} device
 * @property {string} gateway
 * @property {string} epoch
 * @property {number} ping_ms
 * @property {number} max_frame
 * @property {number} ts
 * @property {string[]} [urls] Where other gateways of the cluster are, where its operator says so.
 */
/** @typedef {{conv: string, entries: Entry[], head: number, more: boolean}} HistoryPage */
/**
 * One line of the conversation list.
 * @typedef {object} ConversationItem
 * @property {string} conv
 * @property {'direct'|'group'} kind
 * @property {string | null} title Null where it has none.
 * @property {string} [role] One's own: owner, admin or member.
 * @property {Json} [meta]
 * @property {string} [peer] Of a direct conversation: the other user.
 * @property {number} head
 * @property {number} read
 * @property {number} unread
 * @property {Entry | null} last Its newest message; null where there is none to show.
 * @property {number} members
 */
/** @typedef {{user: string, role: 'owner'|'admin'|'member', joined?: number}} Member */
/** @typedef {'online'|'away'|'busy'} OwnStatus */
/** @typedef {{user: string, status: OwnStatus | 'offline', last_seen?: number}} Presence */
/**
 * Who has got, and who has read, an entry. `more`: the group is too large to look at everyone.
 * @typedef {object} ReceiptList
 * @property {string} conv
 * @property {number} seq
 * @property {{user: string, ts: number}[]} delivered
 * @property {{user: string, ts: number}[]} read
 * @property {number} total Members it was for, without its sender.
 * @property {boolean} [more]
 */
/**
 * A cursor of one user, or in groups over ten how many members are past `seq`.
 * @typedef {object} Receipt
 * @property {string} conv
 * @property {string} [user]
 * @property {number} [delivered]
 * @property {number} [read]
 * @property {number} [seq]
 * @property {number} [delivered_count]
 * @property {number} [read_count]
 * @property {number} [total]
 */

/* ---- What the client says ---- */

/** @typedef {{conv: string} | {to: string} | string} Target A string is a conversation's id. */
/** @typedef {'idle'|'connecting'|'online'|'waiting'|'closed'} State */
/**
 * @typedef {object} StateChange
 * @property {State} state
 * @property {number} [code] The close code that led here.
 * @property {string} [reason]
 * @property {number} [retryInMs] In `waiting`: until the next attempt.
 */
/**
 * @typedef {object} Gap
 * @property {string} conv
 * @property {number} from
 * @property {number} to
 * @property {number} [head]
 * @property {boolean} [trimmed] Retention removed it: it cannot be paged.
 * @property {() => void} skip Call it, at once, to go without these entries; else they are paged.
 */
/** @typedef {'sending'|'sent'|'delivered'|'read'} MessageStatus */
/**
 * How far a message of ours has come: `delivered` and `read` once all the others are there.
 * @typedef {object} Progress
 * @property {MessageStatus} status
 * @property {number} delivered How many others have it.
 * @property {number} read How many others have read it.
 * @property {number | null} total How many others there are; null where that is not known yet.
 */
/** @typedef {'send'|'edit'|'delete'|'react'} WriteType What goes through the outbox. */
/**
 * A send that waits for its acknowledgement.
 * @typedef {{cid: string, conv?: string, to?: string, body: Json, reply_to?: number}} PendingSend
 */
/**
 * An edit, delete or reaction that does.
 * @typedef {object} PendingChange
 * @property {'edit'|'delete'|'react'} type
 * @property {string} cid
 * @property {string} conv
 * @property {number} seq The message it changes.
 * @property {Json} [body]
 * @property {string} [emoji]
 * @property {boolean} [on]
 */
/**
 * @typedef {object} NewConversation
 * @property {string} [conv] Default: made by the server.
 * @property {'direct'|'group'} [kind] Default: group.
 * @property {string[]} members Without oneself.
 * @property {string} [title]
 * @property {Json} [meta]
 * @property {Json} [body] A first message.
 * @property {string} [cid] The same again gets what the first made, though its answer be lost.
 * @property {'all'|'joined'} [history] What newcomers see of what was said before them.
 * @property {number} [retain_ms] Older entries are removed.
 * @property {number} [retain_count] Only so many of the newest are kept.
 */
/**
 * What is absent stays as it is; null in `retain_…`: nothing is removed any more.
 * @typedef {object} ConversationChange
 * @property {string | null} [title] Null: none.
 * @property {Json} [meta]
 * @property {'all'|'joined'} [history]
 * @property {number | null} [retain_ms]
 * @property {number | null} [retain_count]
 */
/**
 * The client's events.
 * @typedef {object} Events
 * @property {StateChange} state
 * @property {Welcome} welcome
 * @property {Entry} message
 * @property {Entry} member
 * @property {Entry} info
 * @property {Entry} edit
 * @property {Entry} delete
 * @property {Entry} reaction
 * @property {Receipt} receipt Ask statusOf() again for the messages of `conv`.
 * @property {{conv: string, user: string, on: boolean}} typing Told once when someone begins and
 *   once when he stops, his message comes, or five seconds pass.
 * @property {Presence} presence Of a user on watch().
 * @property {{conv: string, head: number, unread: number}} activity A large conversation that is
 *   not open moved on.
 * @property {{conv: string, gone?: boolean}} conversation
 * @property {Gap} gap
 * @property {{conversations: number, missed: number}} resumed
 * @property {{}} reset The history was restored from a backup: what is cached of it is void.
 * @property {{reconnect_after_ms: number}} server_restart The client goes by itself, in time.
 * @property {Sent & {request: WriteType, target?: number}} sent A send, edit, delete or reaction
 *   (`target` is the message it changes) is durable.
 * @property {{cid: string, conv?: string, to?: string, request: WriteType, target?: number,
 *   error: import('./client_base.js').ChatmeshError}} refused It will not be.
 * @property {{count: number}} outbox How many of them wait for their acknowledgement.
 * @property {any} event Every event of the server that this client does not know, as it came.
 * @property {Error} error What the server says unasked, and what getToken, the storage or a
 *   listener throws. Where nobody listens it is written to the console.
 */
/** What localStorage and sessionStorage offer.
 * @typedef {{getItem(key: string): string | null,
 *   setItem(key: string, value: string): void}} StoragePort */
/**
 * @typedef {object} Options
 * @property {string} [url] `ws://HOST:PORT/ws`; in a page also relative to it: `/ws`. When it is
 *   gone, those that its welcome named are tried as well, but from wss: never ws:.
 * @property {string[]} [urls] Several gateways, and only these; after a failure the next one is
 *   tried, after the last the first.
 * @property {string} [token]
 * @property {() => string | Promise<string>} [getToken] Asked for the first and every new
 *   token; again, later, where it throws or does not answer within a minute.
 * @property {string} [device] One live connection per (user, device). Default: a random one.
 * @property {boolean} [batch] Take several events in one frame. Default true.
 * @property {StoragePort} [storage] Keeps resume points and the outbox over a reload.
 * @property {string} [storageKey] Prefix of its keys; must differ per user and device.
 * @property {boolean} [persistOutbox] Default true where there is a storage.
 * @property {boolean} [autoAck] Acknowledge what was delivered to the application. Default true.
 * @property {number} [sendsInFlight] Default 64.
 * @property {number} [sendsMax] Sends and changes that wait or are on the wire. Default 10000.
 * @property {number} [requestTimeoutMs] Default 10000.
 * @property {any} [WebSocket] The constructor, where the platform has none (Node 20).
 * @property {() => number} [random] For tests: in place of Math.random.
 */

export {};
