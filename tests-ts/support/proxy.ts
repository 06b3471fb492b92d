import { connect, createServer, type Server, type Socket } from 'node:net';

/**
 * A TCP proxy in front of PostgreSQL that reads the protocol as it goes by, so that a connection can
 * be cut at a named point of a named statement. Without TLS only.
 */

/** What a connection of a scheduler is for, by the first statement on it that tells. */
export type Role = 'work' | 'heart' | 'listen';

export type CutPoint =
  /** The server never sees the statement. */
  | 'before-query'
  /** The server has done it, transaction and all; the client hears nothing of the answer. */
  | 'before-reply'
  /** The client has the answer up to CommandComplete, but not that the transaction has ended. */
  | 'before-ready';

export type Deed =
  /** Both ends are told that the connection has ended. */
  | 'fin'
  /** Both ends are told that the connection was reset. */
  | 'rst'
  /** Nobody is told anything: nothing passes any more, in either direction. */
  | 'black-hole'
  /** What comes at the cut point and after it comes so much later. */
  | { readonly delayMs: number };

export type Direction = 'both' | 'to-client' | 'to-server';

export interface Fault {
  /** Part of the text of the statements it strikes. */
  readonly sql: string;
  /** Only on connections of this role. @default any */
  readonly role?: Role;
  /** Only on connections of this application_name. @default any */
  readonly applicationName?: string;
  readonly at: CutPoint;
  readonly deed: Deed;
  /** The first such statement it strikes, counted from when it was planted. @default 1 */
  readonly nth?: number;
  /** How many statements it strikes. @default 1 */
  readonly times?: number;
}

/** A fault that lies in wait. A test asserts that it fired. */
export interface PlantedFault {
  readonly fired: number;
  /** Resolves when it fires for the first time. */
  readonly struck: Promise<void>;
  remove(): void;
}

/** A statement that went by, or would have. */
export interface Statement {
  readonly connection: ProxiedConnection;
  readonly text: string;
  /** When the proxy read it: Date.now(). */
  readonly sentAt: number;
  /** When the proxy passed the end of the answer on; undefined: not yet, or never. */
  answeredAt: number | undefined;
}

export async function startProxy(url: string): Promise<DatabaseProxy> {
  const proxy = new DatabaseProxy(url);
  await proxy.listen();
  return proxy;
}

export class DatabaseProxy {
  #target: URL;
  readonly #server: Server;
  readonly #connections: ProxiedConnection[] = [];
  readonly #faults = new Set<Planted>();
  #arrivals: 'pass' | 'reset' | 'black-hole' = 'pass';

  /** Every statement so far, in the order of arrival. */
  readonly statements: Statement[] = [];
  /** Connections that were turned away. */
  refused = 0;
  /** While set, NotificationResponse messages do not reach clients. */
  dropNotifications = false;
  droppedNotifications = 0;
  /** How long a new connection waits for the first word of the server. */
  connectDelayMs = 0;
  /** What each connection lets pass in a second, in either direction. */
  bytesPerSecond = Infinity;
  /** How long the first answer on a new connection takes, as on a server that has yet to warm up. */
  coldDelayMs = 0;

  constructor(url: string) {
    this.#target = new URL(url);
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#accept(client));
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, '127.0.0.1', resolve);
    });
  }

  /** The connection string that leads through the proxy. */
  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the proxy is closed');
    const url = new URL(this.#target);
    url.hostname = '127.0.0.1';
    url.port = String(address.port);
    return url.href;
  }

  /** Connections that are open as far as the proxy knows. */
  connections(which: { role?: Role; applicationName?: string } = {}): ProxiedConnection[] {
    return this.#connections.filter((connection) => !connection.closed && connection.is(which));
  }

  /** Connections that ever were. */
  get connected(): number {
    return this.#connections.length;
  }

  /** Statements so far whose text contains a string. */
  seen(sql: string, from: { role?: Role; applicationName?: string } = {}): Statement[] {
    return this.statements.filter(
      ({ text, connection }) => text.includes(sql) && connection.is(from),
    );
  }

  /** Lays a fault for a statement to come. */
  plant(fault: Fault): PlantedFault {
    const planted = new Planted(fault, () => this.#faults.delete(planted));
    this.#faults.add(planted);
    return planted;
  }

  /** Turns new connections away until heal(): as good as a refused one, and the port stays ours. */
  refuse(): void {
    this.#arrivals = 'reset';
  }

  /** New connections get no answer until heal(); those that are open go on. */
  swallow(): void {
    this.#arrivals = 'black-hole';
  }

  /** New connections lead to another server, as after a fail-over; those that are open go on. */
  lead(url: string): void {
    this.#target = new URL(url);
  }

  /** Ends all connections, and turns new ones away until heal(). Answers how many it ended. */
  cut(deed: 'fin' | 'rst' = 'rst'): number {
    this.refuse();
    const open = this.connections();
    for (const connection of open) connection.cut(deed);
    return open.length;
  }

  /**
   * The network is gone, and nobody is told: nothing passes on any connection, and new ones get no
   * answer until heal(). Answers how many connections it struck.
   */
  blackHole(): number {
    this.#arrivals = 'black-hole';
    const open = this.connections();
    for (const connection of open) connection.blackHole();
    return open.length;
  }

  /** New connections pass again. Those that were struck stay as they are, for nobody remembers them. */
  heal(): void {
    this.#arrivals = 'pass';
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.cut('rst');
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(client: Socket): void {
    client.on('error', () => undefined);
    if (this.#arrivals === 'reset') {
      this.refused++;
      client.resetAndDestroy();
      return;
    }
    const server = connect({
      host: this.#target.hostname,
      port: Number(this.#target.port || 5432),
      allowHalfOpen: true,
    });
    const connection = new ProxiedConnection(client, server, {
      msFor: (bytes) => (1000 * bytes) / this.bytesPerSecond,
      begin: (statement, first) => {
        this.statements.push(statement);
        if (first && this.coldDelayMs > 0) connection.delay(this.coldDelayMs);
        // Every fault counts it, whichever strikes.
        return [...this.#faults].filter((fault) => fault.meets(statement))[0];
      },
      notification: () => {
        if (this.dropNotifications) this.droppedNotifications++;
        return !this.dropNotifications;
      },
    });
    this.#connections.push(connection);
    if (this.#arrivals === 'black-hole') connection.blackHole();
    if (this.connectDelayMs > 0) connection.delay(this.connectDelayMs);
  }
}

class Planted implements PlantedFault {
  readonly fault: Fault;
  readonly remove: () => void;
  readonly struck: Promise<void>;
  #strike: () => void = () => undefined;
  #met = 0;
  fired = 0;

  constructor(fault: Fault, remove: () => void) {
    this.fault = fault;
    this.remove = remove;
    this.struck = new Promise((resolve) => {
      this.#strike = resolve;
    });
  }

  /** Whether it is to strike this statement. */
  meets({ text, connection }: Statement): boolean {
    if (!text.includes(this.fault.sql) || !connection.is(this.fault)) return false;
    const { nth = 1, times = 1 } = this.fault;
    this.#met++;
    return this.#met >= nth && this.#met < nth + times;
  }

  fire(): void {
    this.fired++;
    this.#strike();
  }
}

interface Watcher {
  /** How long a message of this size takes on its way. */
  msFor(bytes: number): number;
  /** A statement begins; answers the fault that is to strike it. */
  begin(statement: Statement, first: boolean): Planted | undefined;
  /** A notification is on its way; answers whether it may pass. */
  notification(): boolean;
}

/** One direction of a connection. */
export class Lane {
  readonly #to: Socket;
  readonly #msFor: (bytes: number) => number;
  #held: Buffer[] | undefined;
  /** What is on its way, in the order in which it has to arrive. */
  readonly #underWay: Buffer[] = [];
  /** When what was sent so far has arrived. */
  #freeAt = 0;
  passing = true;

  constructor(to: Socket, msFor: (bytes: number) => number) {
    this.#to = to;
    this.#msFor = msFor;
  }

  write(message: Buffer): void {
    if (!this.passing) return;
    if (this.#held !== undefined) this.#held.push(message);
    else this.#send(message);
  }

  #send(message: Buffer): void {
    const at = performance.now();
    this.#freeAt = Math.max(at, this.#freeAt) + this.#msFor(message.length);
    if (this.#underWay.length === 0 && this.#freeAt - at < 1) this.#to.write(message);
    else {
      this.#underWay.push(message);
      setTimeout(() => this.#arrive(), this.#freeAt - at).unref();
    }
  }

  /** The oldest: a timer that is late must let no other overtake. */
  #arrive(): void {
    const message = this.#underWay.shift();
    if (message !== undefined && this.passing) this.#to.write(message);
  }

  hold(ms: number): void {
    this.#held ??= [];
    setTimeout(() => {
      const held = this.#held ?? [];
      this.#held = undefined;
      for (const message of held) this.write(message);
    }, ms).unref();
  }
}

export class ProxiedConnection {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #toClient: Lane;
  readonly #toServer: Lane;
  readonly #watcher: Watcher;
  /** Statements whose answer has not ended, oldest first. */
  readonly #pending: Pending[] = [];
  /** Texts of prepared statements by their names. */
  readonly #prepared = new Map<string, string>();
  /** A statement of the extended protocol goes on until its Sync. */
  #inStatement = false;
  #used = false;

  applicationName: string | undefined;
  role: Role | undefined;
  closed = false;

  constructor(client: Socket, server: Socket, watcher: Watcher) {
    this.#client = client;
    this.#server = server;
    this.#watcher = watcher;
    this.#toClient = new Lane(client, watcher.msFor);
    this.#toServer = new Lane(server, watcher.msFor);
    client.setNoDelay(true);
    server.setNoDelay(true);

    const fromClient = new Frames('startup', (message) => this.#fromClient(message));
    const fromServer = new Frames('typed', (message) => this.#fromServer(message));
    client.on('data', (chunk) => fromClient.push(chunk));
    server.on('data', (chunk) => fromServer.push(chunk));
    // Of an end that goes no further this side is over all the same.
    client.on('end', () => (this.#toServer.passing ? server.end() : client.destroy()));
    server.on('end', () => (this.#toClient.passing ? client.end() : server.destroy()));
    client.on('error', () => this.#failed());
    server.on('error', () => this.#failed());
    // In a black hole the other end does not learn that this one has gone.
    client.on('close', () => {
      this.closed = true;
      if (this.#toServer.passing) server.destroy();
    });
    server.on('close', () => {
      if (this.#toClient.passing) client.destroy();
    });
  }

  is(which: {
    readonly role?: Role | undefined;
    readonly applicationName?: string | undefined;
  }): boolean {
    return (
      (which.role === undefined || which.role === this.role) &&
      (which.applicationName === undefined || which.applicationName === this.applicationName)
    );
  }

  cut(deed: 'fin' | 'rst'): void {
    this.closed = true;
    this.blackHole();
    for (const socket of [this.#client, this.#server]) {
      if (deed === 'rst') socket.resetAndDestroy();
      else socket.end();
    }
  }

  /** Lets nothing pass any more, and tells nobody. */
  blackHole(direction: Direction = 'both'): void {
    if (direction !== 'to-server') this.#toClient.passing = false;
    if (direction !== 'to-client') this.#toServer.passing = false;
  }

  /** What the server says comes so much later, this once. */
  delay(ms: number): void {
    this.#toClient.hold(ms);
  }

  #failed(): void {
    if (this.#toClient.passing && this.#toServer.passing) this.cut('rst');
  }

  #fromClient(message: Buffer): void {
    switch (message.at(0)) {
      case STARTUP:
        this.applicationName = startupParameters(message).get('application_name');
        break;
      case QUERY:
        if (this.#begins(cstring(message, 5)) === 'struck') return;
        this.#inStatement = false;
        break;
      case PARSE: {
        // The text comes after the name of the prepared statement.
        const text = cstring(message, message.indexOf(0, 5) + 1);
        this.#prepared.set(cstring(message, 5), text);
        if (!this.#inStatement && this.#begins(text) === 'struck') return;
        break;
      }
      case BIND: {
        // One that was prepared before begins here; its name comes after that of the portal.
        const text = this.#prepared.get(cstring(message, message.indexOf(0, 5) + 1)) ?? '';
        if (!this.#inStatement && this.#begins(text) === 'struck') return;
        break;
      }
      case SYNC:
        this.#inStatement = false;
        break;
    }
    this.#toServer.write(message);
  }

  #begins(text: string): 'struck' | 'passes' {
    this.#inStatement = true;
    this.role ??= roleOf(text);
    const statement: Statement = {
      connection: this,
      text,
      sentAt: Date.now(),
      answeredAt: undefined,
    };
    const planted = this.#watcher.begin(statement, !this.#used);
    this.#used = true;
    this.#pending.push({ statement, planted, delayed: false });
    if (planted?.fault.at !== 'before-query') return 'passes';

    const { deed } = planted.fault;
    planted.fire();
    if (typeof deed === 'string') {
      this.#end(deed);
      return 'struck';
    }
    this.#toServer.hold(deed.delayMs);
    return 'passes';
  }

  #fromServer(message: Buffer): void {
    const type = message.at(0);
    if (type === NOTIFICATION && !this.#watcher.notification()) return;

    const head = this.#pending[0];
    if (head !== undefined) {
      const ready = type === READY;
      if (ready) this.#pending.shift();
      if (this.#swallows(head, ready)) return;
      if (ready && this.#toClient.passing) head.statement.answeredAt = Date.now();
    }
    this.#toClient.write(message);
  }

  /** Lets the fault strike once its point is reached; answers whether the message ends here. */
  #swallows(head: Pending, ready: boolean): boolean {
    const { planted } = head;
    if (planted === undefined || planted.fault.at === 'before-query') return false;

    const { at, deed } = planted.fault;
    if (typeof deed !== 'string') {
      if (!head.delayed && (ready || at === 'before-reply')) {
        head.delayed = true;
        planted.fire();
        this.#toClient.hold(deed.delayMs);
      }
      return false;
    }
    // The server says ready when the transaction has ended: only then is it known to have.
    if (!ready) return at === 'before-reply';
    planted.fire();
    this.#end(deed);
    return true;
  }

  #end(deed: 'fin' | 'rst' | 'black-hole'): void {
    if (deed === 'black-hole') this.blackHole();
    else this.cut(deed);
  }
}

interface Pending {
  readonly statement: Statement;
  readonly planted: Planted | undefined;
  /** The fault, a delay, has struck it. */
  delayed: boolean;
}

const STARTUP = 0;
const QUERY = 0x51;
const PARSE = 0x50;
const BIND = 0x42;
const SYNC = 0x53;
const READY = 0x5a;
const NOTIFICATION = 0x41;

/** Cuts a stream into messages of the protocol. The first of a client has no type, so begins with 0. */
export class Frames {
  #buffer: Buffer = Buffer.alloc(0);
  #typed: boolean;
  readonly #onMessage: (message: Buffer) => void;

  constructor(first: 'startup' | 'typed', onMessage: (message: Buffer) => void) {
    this.#typed = first === 'typed';
    this.#onMessage = onMessage;
  }

  push(chunk: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    for (;;) {
      const lengthAt = this.#typed ? 1 : 0;
      if (this.#buffer.length < lengthAt + 4) return;
      const end = lengthAt + this.#buffer.readInt32BE(lengthAt);
      if (this.#buffer.length < end) return;
      const message = this.#buffer.subarray(0, end);
      this.#buffer = this.#buffer.subarray(end);
      this.#typed = true;
      this.#onMessage(message);
    }
  }
}

function cstring(message: Buffer, from: number): string {
  return message.toString('utf8', from, message.indexOf(0, from));
}

function startupParameters(message: Buffer): Map<string, string> {
  const words = message.toString('utf8', 8).split('\0');
  const parameters = new Map<string, string>();
  for (let at = 0; at + 1 < words.length; at += 2) {
    parameters.set(words[at] ?? '', words[at + 1] ?? '');
  }
  return parameters;
}

const ROLES: readonly (readonly [Role, RegExp])[] = [
  ['listen', /^listen |pg_notify\(/],
  ['heart', /leasehold\.(register_worker|heartbeat_many)\(/],
  ['work', /leasehold\./],
];

function roleOf(text: string): Role | undefined {
  return ROLES.find(([, pattern]) => pattern.test(text))?.[0];
}
