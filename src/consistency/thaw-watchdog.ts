import { writeSync } from 'node:fs';
import { Socket } from 'node:net';

/**
 * A process of its own that thaws a guest when the time is over, or when who froze it has died, by whatever. It has the same
 * connection to the agent as that one, because the agent's channel takes only one. It exits with 0 when it is told that all is well, or when
 * the agent has said that the guest is thawed.
 * Usage: thaw-watchdog MILLISECONDS, with a standard input that ends when the other dies, and the connection as descriptor 3
 */

/** Milliseconds between two tries, and after which to give up. */
const [pause, patience] = [2_000, 60_000];

const thaw = '{"execute":"guest-fsfreeze-thaw"}\n';
let isOurs = false;

setTimeout(ask, Number(process.argv[2]));
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, ask);
process.stdin.on('data', () => process.exit(0));
process.stdin.on('error', takeOver);
process.stdin.on('close', takeOver);
process.stdout.on('error', () => undefined);
process.stdout.write('ready\n');

/** While the other lives, the answer is his: he asks, after his work, whether the guest is still frozen. */
function ask(): void {
  if (!isOurs) send(thaw);
}

function takeOver(): void {
  if (isOurs) return;
  isOurs = true;
  const id = process.pid;
  // Answers to what the other has asked may still be on the way. Only what comes after that of the mark is for us.
  const again = (): void => send(`\xff{"execute":"guest-sync-delimited","arguments":{"id":${id}}}\n${thaw}`);
  again();
  setInterval(again, pause);
  setTimeout(() => process.exit(1), patience);
  const answered = new RegExp(`"return": *${id}\\b[\\s\\S]*"return": *\\d`);
  const agent = new Socket({ fd: 3 });
  let text = '';
  agent.on('data', (chunk) => {
    text = (text + chunk.toString('latin1')).slice(-4096);
    if (answered.test(text)) process.exit(0);
  });
  agent.on('error', () => process.exit(1));
  agent.on('close', () => process.exit(1));
}

function send(text: string): void {
  try {
    writeSync(3, text, null, 'latin1');
  } catch (error) {
    // A channel that is full now is tried again; one that is closed leads nowhere.
    if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) process.exit(1);
  }
}
