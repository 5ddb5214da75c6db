import { lstatSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { hasErrno } from '../../linux/system-calls.ts';
import { readIfAny } from './replace-file.ts';

/** Mount units of systemd: systemd.mount(5), systemd.unit(5), systemd.syntax(7). */

/** Whose mount it is; each looks only after its own. */
export type UnitOwner = 'pool' | 'volume';

const markers: Readonly<Record<UnitOwner, string>> = {
  pool: 'Description=Coppice pool ',
  volume: 'Description=Coppice volume on ',
};

export interface MountUnit {
  readonly what: UnitOwner;
  readonly source: string;
  readonly path: string;
  /** Of the file system; `none` for a directory. */
  readonly type: string;
  readonly options: readonly string[];
  /** A directory whose file system has to be mounted first. */
  readonly needs?: string;
}

/** `nofail` and `x-systemd.*` are words of fstab: here not being required by local-fs.target, and a line of its own, mean the same. */
export function mountUnit({ what, source, path, type, options, needs }: MountUnit): string {
  const after = needs === undefined ? '' : `${requiresMountsFor(needs)}\n`;
  return `[Unit]
${markers[what]}${escapeSpecifiers(path)}
${after}
[Mount]
What=${escapeSpecifiers(source)}
Where=${escapeSpecifiers(path)}
Type=${type}
Options=${options.join(',')}

[Install]
WantedBy=multi-user.target
`;
}

/** A list of words, so quoted where a path would not be one word. */
export function requiresMountsFor(path: string): string {
  const text = escapeSpecifiers(path);
  const isWord = !/[\s"'\\;]/.test(text);
  return `RequiresMountsFor=${isWord ? text : `"${text.replace(/["\\]/g, '\\$&')}"`}`;
}

/** systemd's escaping of a path: systemd.unit(5), "String escaping for inclusion in unit names". */
export function unitName(path: string): string {
  const inner = path.replace(/^\/+|\/+$/g, '');
  const escaped = [...Buffer.from(inner)].map((byte, index) => {
    const character = String.fromCharCode(byte);
    if (character === '/') return '-';
    const plain = /[A-Za-z0-9:_]/.test(character) || (character === '.' && index > 0);
    return plain ? character : `\\x${byte.toString(16).padStart(2, '0')}`;
  });
  return `${escaped.join('') || '-'}.mount`;
}

/** The units in a directory that Coppice wrote. */
export function mountUnits(
  directory: string,
  of: UnitOwner,
): Array<{ readonly file: string; readonly what: string; readonly where: string }> {
  return namesIn(directory)
    .filter((name) => name.endsWith('.mount'))
    .flatMap((name) => {
      const file = join(directory, name);
      const unit = readIfAny(file) ?? '';
      const value = (key: string): string =>
        new RegExp(`^${key}=(.*)$`, 'm').exec(unit)?.[1]?.replaceAll('%%', '%') ?? '';
      return unit.includes(markers[of]) ? [{ file, what: value('What'), where: value('Where') }] : [];
    });
}

/**
 * Takes out the unit of a mount point, if Coppice wrote it for one of these, and what `systemctl enable` made for it. The links go first: the unit is what
 * tells the next run that there is something to take out. Returns what it removed.
 */
export function removeUnit(directory: string, path: string, of: UnitOwner): string[] {
  const unit = join(directory, unitName(path));
  if (!readIfAny(unit)?.includes(markers[of])) return [];
  const links = readdirSync(directory)
    .filter((name) => /\.(?:wants|requires)$/.test(name))
    .map((name) => join(directory, name, unitName(path)))
    .filter(isLink);
  const removed = [...links, unit];
  for (const file of removed) unlinkSync(file);
  return removed;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}

function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink();
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

function escapeSpecifiers(text: string): string {
  return text.replaceAll('%', '%%');
}
