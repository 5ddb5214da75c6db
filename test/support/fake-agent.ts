import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { scratchDirectory } from './devices.ts';

export interface AgentHabits {
  /** How many file systems it has; 2 when absent. */
  readonly fileSystems?: number;
  /** What it says to have thawed, whatever that was. */
  readonly claimsThawed?: number;
  /** Commands that it never answers, though it obeys them. */
  readonly silentTo?: readonly string[];
  /** It refuses to freeze. */
  readonly refuses?: boolean;
  /** It thaws by itself at once, as another program in the guest may have it do. */
  readonly thawsByItself?: boolean;
  /** It hangs up when it has frozen. */
  readonly hangsUp?: boolean;
}

export interface FakeAgent extends AsyncDisposable {
  readonly socket: string;
  readonly asked: string[];
  readonly isFrozen: boolean;
  /** Resolves when it has been asked for that. */
  wasAsked(command: string): Promise<void>;
}

/**
 * Behaves as the guest agent of QEMU behind its channel, which has one connection at a time: who comes second waits until the first has
 * hung up.
 */
export async function fakeAgent(habits: AgentHabits = {}): Promise<FakeAgent> {
  const { fileSystems = 2, silentTo = [] } = habits;
  const socket = join(scratchDirectory('agent'), 'qga.sock');
  const asked: string[] = [];
  const waiting: Socket[] = [];
  const open = new Set<Socket>();
  let watchers: Array<() => void> = [];
  let current: Socket | undefined;
  let frozen = 0;

  const obey = (name: string, given: { readonly id?: number }): unknown => {
    switch (name) {
      case 'guest-sync-delimited':
        return given.id;
      case 'guest-fsfreeze-freeze': {
        if (habits.refuses) throw new Error('failed to freeze: Permission denied');
        if (frozen > 0)
          throw new Error('The command guest-fsfreeze-freeze has been disabled for this instance');
        frozen = habits.thawsByItself ? 0 : fileSystems;
        return fileSystems;
      }
      case 'guest-fsfreeze-status':
        return frozen > 0 ? 'frozen' : 'thawed';
      case 'guest-fsfreeze-thaw': {
        const thawed = frozen;
        frozen = 0;
        return habits.claimsThawed ?? thawed;
      }
      default:
        throw new Error(`The command ${name} has not been found`);
    }
  };
  const hear = (connection: Socket, line: Buffer): void => {
    const text = line.subarray(line.lastIndexOf(0xff) + 1).toString();
    const { execute: name, arguments: given = {} } = JSON.parse(text);
    asked.push(name);
    let answer: unknown;
    try {
      answer = { return: obey(name, given) };
    } catch (error) {
      answer = { error: { class: 'GenericError', desc: error instanceof Error ? error.message : '' } };
    }
    // As the real one writes it: with a space after each colon, and the mark only before the answer to a synchronisation.
    const mark = name === 'guest-sync-delimited' ? '\xff' : '';
    const json = JSON.stringify(answer).replaceAll('":', '": ');
    if (!silentTo.includes(name)) connection.write(`${mark}${json}\n`, 'latin1');
    if (habits.hangsUp && name === 'guest-fsfreeze-freeze') connection.destroy();
    for (const wake of watchers) wake();
  };
  const serve = (connection: Socket): void => {
    current = connection;
    let buffer = Buffer.alloc(0);
    connection.on('data', (chunk: Buffer) => {
      buffer = Buffer.concat([buffer, chunk]);
      for (let end = buffer.indexOf('\n'); end >= 0; end = buffer.indexOf('\n')) {
        const line = buffer.subarray(0, end);
        buffer = buffer.subarray(end + 1);
        hear(connection, line);
      }
    });
  };
  const server = createServer({ pauseOnConnect: false }, (connection) => {
    open.add(connection);
    connection.on('error', () => undefined);
    connection.on('close', () => {
      open.delete(connection);
      if (current !== connection) return;
      current = undefined;
      const next = waiting.shift();
      if (next) serve(next);
    });
    if (current) waiting.push(connection);
    else serve(connection);
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return {
    socket,
    asked,
    get isFrozen() {
      return frozen > 0;
    },
    async wasAsked(command) {
      while (!asked.includes(command)) {
        await new Promise<void>((resolve) => {
          watchers.push(resolve);
        });
        watchers = [];
      }
    },
    async [Symbol.asyncDispose]() {
      for (const connection of open) connection.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
