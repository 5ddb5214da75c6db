import { fstatSync } from 'node:fs';
import { foreignFormat, type ImageFormat } from '../../images/format.ts';
import { backingFileOf } from '../../images/qcow2.ts';
import type { FileIdentity } from '../../linux/holders.ts';
import { isOpenElsewhere, isOpenForWriting } from '../../linux/leases.ts';
import { type Blocker, CoppiceError } from '../../model/errors.ts';
import type { AdoptedFile } from '../../model/metadata.ts';
import { printable } from '../../model/printable.ts';
import { explainFailure } from '../failures.ts';
import { readSourceImage, type SourceImage } from '../source-image.ts';
import type { Entry } from './entries.ts';
import { identityOf, openOriginal, whyNoFile } from './original.ts';
import { whyNotShared } from './sharing.ts';

/** What a file says of itself, when it was looked at. */
export interface Look {
  readonly entry: Entry;
  /** Absent when it can't be read as an image; then there are blockers. */
  readonly image?: Omit<SourceImage, 'fd'>;
  readonly identity?: FileIdentity;
  /** What a volume that is made from it will say of it. */
  readonly record?: AdoptedFile;
  /** Why its blocks can't be shared. */
  readonly whyCopied?: string;
  /** Whether somebody writes to it, and whether anybody has it open; undefined when the kernel won't say. */
  readonly isWritten?: boolean | undefined;
  readonly isOpen?: boolean | undefined;
  readonly blockers: readonly Blocker[];
}

/** What the end of a disk's name says that it is. */
const extensions: ReadonlyMap<string, ImageFormat> = new Map([
  ['.ext4', 'raw'],
  ['.img', 'raw'],
  ['.qcow2', 'qcow2'],
  ['.raw', 'raw'],
]);

/** Why a file is none that is looked for; undefined when it is. */
export function whySkipped(entry: Entry): string | undefined {
  if (entry.isNamed) return undefined;
  if (entry.file.startsWith('.')) return 'its name begins with a dot';
  const why = whyNoFile(entry);
  if (why !== undefined || extensionOf(entry.file) !== undefined) return why;
  return `its name does not end in ${[...extensions.keys()].join(', ')}`;
}

export function extensionOf(file: string): string | undefined {
  return [...extensions.keys()].find((extension) => file.toLowerCase().endsWith(extension));
}

/**
 * Looks at a file without changing it.
 * @param probe an empty disk of the pool, to try whether blocks can be shared, or why none ever can
 */
export function look(entry: Entry, probe: number | string): Look {
  const why = whyNoFile(entry);
  if (why !== undefined)
    return { entry, blockers: [leftOut(`${entry.label} can't be adopted, because ${why}`)] };
  const read = readEntry(entry);
  if ('kind' in read) return { entry, blockers: [read] };
  using source = read.source;
  const { format, imageBytes } = read.image;
  const { dev, ino } = fstatSync(source.fd, { bigint: true });
  const whyCopied =
    format === 'qcow2'
      ? 'it is qcow2, and the disks of a pool are raw'
      : typeof probe === 'string'
        ? probe
        : whyNotShared(source.fd, imageBytes, probe);
  return {
    entry,
    image: read.image,
    identity: { device: dev, inode: ino, path: entry.label },
    record: identityOf(entry.file, source.fd, read.image.status),
    ...(whyCopied !== undefined && { whyCopied }),
    isWritten: isOpenForWriting(source.fd),
    isOpen: isOpenElsewhere(source.fd),
    blockers: formatBlockers(entry, format),
  };
}

/** The open file, or why it can't be read as an image. */
function readEntry(
  entry: Entry,
): Blocker | { readonly source: ReturnType<typeof openOriginal>; readonly image: SourceImage } {
  using opened = new DisposableStack();
  let backing: string | undefined;
  try {
    const source = opened.use(openOriginal(entry));
    const foreign = foreignFormat(source.fd);
    if (foreign !== undefined) return foreignBlocker(entry, foreign);
    backing = backingFileOf(source.fd);
    const image = readSourceImage(source.fd, entry.label, undefined);
    opened.move();
    return { source, image };
  } catch (error) {
    const explained = explainFailure(`read ${entry.label}`, error);
    if (!(explained instanceof CoppiceError)) throw error;
    return backing === undefined
      ? leftOut(explained.message.replace(/\.$/, ''))
      : {
          kind: 'source',
          what: `${entry.label} is only what was changed of ${printable(backing)}, its backing file`,
          remedy:
            'write both into one file with "qemu-img convert -O qcow2 OVERLAY FLAT.qcow2", and adopt that',
        };
  }
}

/** Whoever writes into a raw disk can make it look like a qcow2 image, so what a file is called has to say the same. */
function formatBlockers({ file, label }: Entry, found: ImageFormat): Blocker[] {
  const extension = extensionOf(file);
  if ((extension === undefined ? 'raw' : extensions.get(extension)) === found) return [];
  return [
    {
      kind: 'source',
      what: `the first bytes of ${label} say ${found}, and its name does not`,
      remedy: `rename it to end in .${found} if you know that it is`,
    },
  ];
}

function foreignBlocker({ label, path }: Entry, format: string): Blocker {
  return {
    kind: 'source',
    what: `${label} looks like ${format}, and only raw and qcow2 disks are adopted`,
    remedy: `convert or unpack it first; if it really is a raw disk, use "coppice import NAME ${printable(path)} --format raw"`,
  };
}

function leftOut(what: string): Blocker {
  return { kind: 'source', what, remedy: 'take it away, or leave it out with --keep-going' };
}
