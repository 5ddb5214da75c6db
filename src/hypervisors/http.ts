import { connectSocket, said } from '../linux/unix-socket.ts';
import { CoppiceError } from '../model/errors.ts';

export interface HttpAnswer {
  readonly status: number;
  /** Parsed JSON; undefined where there was none. */
  readonly body: unknown;
}

/** The longest answer that is taken, in bytes. */
const mostBytes = 4 * 2 ** 20;

/**
 * One request over a local socket, with JSON both ways.
 * @throws CoppiceError io_error when the answer is none, or too long
 */
export async function requestJson(
  socketPath: string,
  method: 'GET' | 'PUT' | 'PATCH',
  path: string,
  body: unknown,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const { request } = await import('node:http');
  const socket = await connectSocket(socketPath, signal);
  const text = body === undefined ? '' : JSON.stringify(body);
  try {
    return await new Promise<HttpAnswer>((resolve, reject) => {
      const sent = request({
        method,
        path,
        createConnection: () => socket,
        headers: {
          Host: 'localhost',
          Accept: 'application/json',
          ...(text !== '' && {
            'Content-Type': 'application/json',
            'Content-Length': Buffer.byteLength(text),
          }),
        },
      });
      const fail = (error: Error): void => {
        reject(
          signal.aborted || error instanceof CoppiceError
            ? (signal.reason ?? error)
            : broken(socketPath, error),
        );
      };
      sent.on('error', fail);
      sent.on('response', (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        response.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length > mostBytes) socket.destroy(said(socketPath, 'too much'));
          else chunks.push(chunk);
        });
        response.on('error', fail);
        response.on('end', () => {
          const answer = Buffer.concat(chunks).toString('utf8');
          resolve({ status: response.statusCode ?? 0, body: parsed(answer) });
        });
      });
      sent.end(text);
    });
  } finally {
    socket.destroy();
  }
}

/** An answer that says no, as an error. */
export function refusedBy(
  who: string,
  what: string,
  { status, body }: HttpAnswer,
  why: string,
): CoppiceError {
  const reason = why || (typeof body === 'string' ? body : '');
  return new CoppiceError(
    'io_error',
    `${who} refused ${what} (status ${status})${reason && `: ${reason.slice(0, 300)}`}.`,
  );
}

function parsed(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

function broken(path: string, cause: Error): CoppiceError {
  return new CoppiceError(
    'io_error',
    `What listens on ${path} gave no answer that is HTTP (${cause.message}).`,
    {
      cause,
    },
  );
}
