import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import pg from 'pg';
import { Frames } from './proxy.ts';

/**
 * A transaction pooler, as PgBouncer is one: a client has a session of the server from its first message to
 * the end of the transaction, and then another client may. Sessions outlive clients. No TLS, no passwords.
 */
export async function startPooler(url: string, sessions: number): Promise<Pooler> {
  const pooler = new Pooler(url);
  await pooler.start(sessions);
  return pooler;
}

const READY = 0x5a;
const SYNC = 0x53;
const QUERY = 0x51;
const TERMINATE = 0x58;

export class Pooler {
  readonly #target: URL;
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  readonly #sessions: Session[] = [];
  /** Clients with something to say, first come, first served. */
  readonly #line: Pooled[] = [];

  constructor(url: string) {
    this.#target = new URL(url);
    this.#server = createServer((socket) => {
      this.#clients.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => this.#clients.delete(socket));
      new Pooled(socket, (client) => {
        this.#line.push(client);
        this.#serve();
      });
    });
  }

  async start(sessions: number): Promise<void> {
    for (let n = 0; n < sessions; n++) {
      const session = new Session(this.#target.href, () => this.#serve());
      await session.open();
      this.#sessions.push(session);
    }
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the pooler is closed');
    const url = new URL(this.#target);
    url.hostname = '127.0.0.1';
    url.port = String(address.port);
    return url.href;
  }

  /** How many clients there are. */
  get clients(): number {
    return this.#clients.size;
  }

  /** The server's processes of the sessions. */
  get pids(): number[] {
    return this.#sessions.map(({ pid }) => pid);
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    for (const session of this.#sessions) session.close();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(): void {
    for (const session of this.#sessions) {
      if (session.client !== undefined) continue;
      const next = this.#line.shift();
      if (next === undefined) return;
      session.lend(next);
    }
  }
}

/** A client of the pooler. */
class Pooled {
  readonly #socket: Socket;
  readonly #wants: (client: Pooled) => void;
  #session: Session | undefined;
  #said: Buffer[] = [];

  constructor(socket: Socket, wants: (client: Pooled) => void) {
    this.#socket = socket;
    this.#wants = wants;
    let welcomed = false;
    const frames = new Frames('startup', (message) => {
      if (welcomed) this.#say(message);
      else socket.write(welcome());
      welcomed = true;
    });
    socket.on('data', (chunk) => frames.push(chunk));
  }

  lent(session: Session): void {
    this.#session = session;
    for (const message of this.#said.splice(0)) session.say(message);
  }

  returned(): void {
    this.#session = undefined;
    if (this.#said.length > 0) this.#wants(this);
  }

  hear(message: Buffer): void {
    this.#socket.write(message);
  }

  #say(message: Buffer): void {
    if (message.at(0) === TERMINATE) return;
    if (this.#session !== undefined) this.#session.say(message);
    else if (this.#said.push(message) === 1) this.#wants(this);
  }
}

/** A session of the server. */
class Session {
  readonly #driver: pg.Client;
  readonly #onFree: () => void;
  #unanswered = 0;
  client: Pooled | undefined;
  pid = 0;

  constructor(url: string, onFree: () => void) {
    this.#driver = new pg.Client({ connectionString: url, application_name: 'pooler' });
    this.#driver.on('error', () => undefined);
    this.#onFree = onFree;
  }

  get #socket(): Socket {
    return (this.#driver as unknown as { connection: { stream: Socket } }).connection.stream;
  }

  async open(): Promise<void> {
    await this.#driver.connect();
    this.pid = (this.#driver as unknown as { processID: number }).processID;
    // From here on the driver has no part in it.
    this.#socket.removeAllListeners('data');
    const frames = new Frames('typed', (message) => this.#hear(message));
    this.#socket.on('data', (chunk: Buffer) => frames.push(chunk));
  }

  lend(client: Pooled): void {
    this.client = client;
    client.lent(this);
  }

  say(message: Buffer): void {
    if ([QUERY, SYNC].includes(message.at(0) ?? 0)) this.#unanswered++;
    this.#socket.write(message);
  }

  close(): void {
    this.#socket.destroy();
  }

  /** What a session says that nobody has is lost, notifications too. */
  #hear(message: Buffer): void {
    const { client } = this;
    client?.hear(message);
    if (message.at(0) !== READY || client === undefined) return;
    this.#unanswered--;
    const isIdle = message.toString('latin1', 5, 6) === 'I';
    if (this.#unanswered > 0 || !isIdle) return;
    this.client = undefined;
    client.returned();
    this.#onFree();
  }
}

/** Authentication is well, the key to cancel with is made up, ready. */
function welcome(): Buffer {
  const key = randomBytes(8);
  key[0] = (key[0] ?? 0) & 0x7f;
  return Buffer.concat([
    Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0]),
    Buffer.from([0x4b, 0, 0, 0, 12]),
    key,
    Buffer.from([READY, 0, 0, 0, 5, 0x49]),
  ]);
}
