import { CoppiceError } from '../model/errors.ts';

/** Who has to be told that a disk has grown, and where. */
export type HypervisorTarget =
  | {
      readonly kind: 'qmp';
      readonly socket: string;
      /** The name of a drive, of a device or of a block node; found by the disk's path when absent. */
      readonly device?: string;
    }
  | { readonly kind: 'firecracker'; readonly socket: string; readonly drive: string }
  | { readonly kind: 'cloud-hypervisor'; readonly socket: string; readonly disk: string }
  | {
      readonly kind: 'hook';
      /** A program by its absolute path, and its arguments. Whoever may choose it may run anything. */
      readonly command: readonly string[];
    };

const forms =
  'qmp:SOCKET[,device=ID], firecracker:SOCKET,drive=ID, cloud-hypervisor:SOCKET,disk=ID or hook:PROGRAM';

/**
 * Reads a target as the command line takes it.
 * @throws CoppiceError invalid_argument
 */
export function parseHypervisorTarget(text: string): HypervisorTarget {
  const [kind, rest] = split(text, ':');
  if (kind === 'hook') return checkHypervisorTarget({ kind, command: [rest] });
  const [socket, ...options] = rest.split(',');
  const fields: Record<string, string> = { kind, socket: socket ?? '' };
  for (const option of options) {
    const [name, value] = split(option, '=');
    if (name === 'kind' || name === 'socket' || Object.hasOwn(fields, name)) throw unreadable(text);
    fields[name] = value;
  }
  return checkHypervisorTarget(fields);
}

/**
 * A target from outside, such as a request.
 * @throws CoppiceError invalid_argument unless all of it can be meant
 */
export function checkHypervisorTarget(value: unknown): HypervisorTarget {
  if (typeof value !== 'object' || value === null) throw unreadable(JSON.stringify(value) ?? String(value));
  const { kind, socket, ...fields } = value as Record<string, unknown>;
  const text = (name: keyof typeof identifiers): string => {
    const id = fields[name];
    if (typeof id === 'string' && identifiers[name].test(id)) return id;
    throw new CoppiceError(
      'invalid_argument',
      `A ${kind} target needs ${name}=ID, where ID is what the hypervisor calls the disk; ${JSON.stringify(id)} can't be one.`,
    );
  };
  const only = (...names: readonly string[]): void => {
    const other = Object.keys(fields).find((name) => fields[name] !== undefined && !names.includes(name));
    if (other !== undefined)
      throw new CoppiceError('invalid_argument', `A ${kind} target has no "${other}"; write ${forms}.`);
  };
  if (kind === 'hook') {
    only('command');
    return { kind, command: checkCommand(fields['command']) };
  }
  if (kind !== 'qmp' && kind !== 'firecracker' && kind !== 'cloud-hypervisor')
    throw unreadable(JSON.stringify(kind) ?? 'nothing');
  const path = checkSocket(socket);
  switch (kind) {
    case 'qmp':
      only('device');
      return { kind, socket: path, ...(fields['device'] !== undefined && { device: text('device') }) };
    case 'firecracker':
      only('drive');
      return { kind, socket: path, drive: text('drive') };
    case 'cloud-hypervisor':
      only('disk');
      return { kind, socket: path, disk: text('disk') };
  }
}

/**
 * What can be a name there: of QEMU also paths in its device tree and names that it makes itself; of Firecracker what its own check
 * takes (`checked_id`).
 */
const identifiers = {
  device: /^[A-Za-z0-9_#/][A-Za-z0-9_#./:[\]-]{0,254}$/,
  drive: /^[A-Za-z0-9_]{1,64}$/,
  disk: /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/,
} as const;

function checkSocket(path: unknown): string {
  if (typeof path === 'string' && /^\/[^\0]{1,4094}$/.test(path)) return path;
  throw new CoppiceError(
    'invalid_argument',
    `The path of a socket must begin with "/"; ${JSON.stringify(path)} does not.`,
  );
}

function checkCommand(command: unknown): readonly string[] {
  const words: readonly unknown[] = Array.isArray(command) ? command : [];
  if (
    words.length > 0 &&
    words.every((word): word is string => typeof word === 'string' && !word.includes('\0'))
  ) {
    if (words[0]?.startsWith('/')) return words;
  }
  throw new CoppiceError(
    'invalid_argument',
    `A hook is a program by its whole path, such as hook:/usr/local/sbin/disk-grown; ${JSON.stringify(command)} is none.`,
  );
}

function split(text: string, separator: string): readonly [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

function unreadable(text: string): CoppiceError {
  return new CoppiceError('invalid_argument', `${text} names no hypervisor: write ${forms}.`);
}
