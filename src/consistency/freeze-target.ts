import { CoppiceError } from '../model/errors.ts';

/** Who can freeze the file systems of a guest. */
export interface FreezeTarget {
  readonly kind: 'qemu-ga';
  /** The host's end of the channel `org.qemu.guest_agent.0`. */
  readonly socket: string;
}

/** Reads `qemu-ga:SOCKET`. @throws CoppiceError invalid_argument */
export function parseFreezeTarget(text: string): FreezeTarget {
  const socket = /^qemu-ga:(\/.*)$/s.exec(text)?.[1];
  if (socket !== undefined) return checkFreezeTarget({ kind: 'qemu-ga', socket });
  throw new CoppiceError(
    'invalid_argument',
    `"${text}" names no guest to freeze: write qemu-ga:SOCKET, where the path of the socket begins with "/".`,
  );
}

/** A target from outside, such as a request. @throws CoppiceError invalid_argument unless it can be meant */
export function checkFreezeTarget(value: unknown): FreezeTarget {
  const { kind, socket, ...others } = Object(value) as Record<string, unknown>;
  const isPath = typeof socket === 'string' && /^\/[^\0]{1,4094}$/.test(socket);
  if (kind === 'qemu-ga' && isPath && Object.keys(others).length === 0) return { kind, socket };
  throw new CoppiceError(
    'invalid_argument',
    `${JSON.stringify(value) ?? 'nothing'} names no guest to freeze: it is { kind: "qemu-ga", socket: PATH }.`,
  );
}
