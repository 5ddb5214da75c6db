/** Lines of fstab(5). A line that Coppice did not write stays as it is, to the byte. */

export interface FstabLine {
  readonly source: string;
  readonly mountPoint: string;
  /** Of the file system. */
  readonly type: string;
}

/** What a line says, whoever wrote it. */
export interface MountLine extends FstabLine {
  readonly options: readonly string[];
}

/** All lines of an fstab that mount something. */
export function fstabLines(fstab: string): MountLine[] {
  return fstab
    .split('\n')
    .map(parse)
    .filter((line) => line !== undefined);
}

/** The line that mounts a pool. */
export function fstabLine(line: FstabLine, options: readonly string[]): string {
  return `${escapeField(line.source)} ${escapeField(line.mountPoint)} ${line.type} ${escapeField(options.join(','))} 0 0`;
}

/**
 * What has systemd mount the file system first that a directory lies on. A directory that would break the list of options can't be said
 * in it; systemd finds most of them by the source of the line.
 */
export function requiresMountsOption(directory: string): string[] {
  if (/[,"\\\n\r]/.test(directory)) return [];
  return [`x-systemd.requires-mounts-for=${/\s/.test(directory) ? `"${directory}"` : directory}`];
}

/** Everything but the lines that mount something of ours at a mount point. */
export function withoutOurs(fstab: string, mountPoint: string, isOurs: (source: string) => boolean): string {
  const kept = fstab.split(/(?<=\n)/).filter((text) => {
    const line = parse(text);
    return line?.mountPoint !== mountPoint || !isOurs(line.source);
  });
  return kept.join('');
}

/** An fstab with one more line, also where the last one has no end. */
export function withLine(fstab: string, line: string): string {
  return `${fstab}${fstab === '' || fstab.endsWith('\n') ? '' : '\n'}${line}\n`;
}

/** What an fstab mounts at a mount point. */
export function sourceAt(fstab: string, mountPoint: string): string | undefined {
  return fstabLines(fstab).find((line) => line.mountPoint === mountPoint)?.source;
}

function parse(text: string): MountLine | undefined {
  const [source = '', mountPoint = '', type = '', options = ''] = text.trim().split(/\s+/);
  if (source === '' || source.startsWith('#')) return undefined;
  return {
    source: unescapeField(source),
    mountPoint: unescapeField(mountPoint),
    type,
    options: unescapeField(options).split(','),
  };
}

function escapeField(text: string): string {
  return text.replace(/[\s\\#]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

function unescapeField(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
