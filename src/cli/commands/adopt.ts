import { buildCommand, type Command } from '@stricli/core';
import type { Adopted, AdoptedDisk } from '../../engine/operations/adopt.ts';
import { CoppiceError } from '../../model/errors.ts';
import { formatSize } from '../../model/sizes.ts';
import type { TreeFlags } from '../adopt-tree.ts';
import { note, print, reporting } from '../command.ts';
import {
  type CliContext,
  optionalText,
  type PoolFlags,
  poolFlags,
  toggle,
  withExamples,
  word,
} from '../context.ts';
import { exitCodes, Shown } from '../failure.ts';
import { counted, table } from '../table.ts';
import { lineWidth } from '../terminal.ts';

interface Flags extends PoolFlags, TreeFlags {
  readonly kind: 'block' | 'tree';
  readonly as?: 'template' | 'volume';
  readonly rename?: readonly string[];
  readonly keepGoing: boolean;
}

export const adoptCommand: Command<CliContext> = buildCommand<Flags, string[], CliContext>({
  docs: {
    brief: 'Make volumes and templates from disks that lie in directories, or of a directory itself',
    fullDescription: withExamples(
      "Makes volumes and templates from the .ext4, .img, .raw and .qcow2 disks in directories. They keep their names and share their blocks with the files, so this takes no space and no time, and what shared blocks before still does. All are looked at first: if one can't be adopted, none is. The files stay as they are until --remove-originals. Can be run again at any time; what was adopted already is left as it is.\n\nWith --kind tree the directory itself becomes a volume, with all that is in it: a snapshot where it is a subvolume of the pool's file system, else a copy that shares blocks and is compared with it. Then a link to the volume takes its place in one step, and the directory is kept beside it as DIRECTORY.before-adoption-TIME, until --remove-originals; --undo puts it back.",
      'coppice adopt /srv/disks/templates /srv/disks/vms --dry-run',
      'coppice adopt /var/lib/libvirt/images/vm-1.qcow2 --copy',
      "coppice adopt /srv/disks/vms --rename 'my vm.raw=my-vm'",
      'coppice adopt /srv/disks/vms --remove-originals',
      'coppice adopt --kind tree /var/lib/postgresql/15/main --name pg',
      'coppice adopt --kind tree /var/lib/postgresql/15/main --undo',
    ),
  },
  parameters: {
    flags: {
      ...poolFlags,
      kind: {
        kind: 'enum',
        values: ['block', 'tree'],
        brief: 'The disks in directories, or the directory itself',
        default: 'block',
      },
      as: {
        kind: 'enum',
        values: ['template', 'volume'],
        brief: 'What they become [default = template in a directory called templates, else volume]',
        optional: true,
      },
      rename: {
        kind: 'parsed',
        parse: String,
        brief: 'Give the volume of a file another name; can be given several times',
        placeholder: 'FILE=NAME',
        variadic: true,
        optional: true,
      },
      copy: toggle("Copy what can't share its blocks: qcow2, and what lies on another file system"),
      force: toggle('Take disks that are in use as a power cut would leave them; their originals stay'),
      keepGoing: toggle("Adopt the others where some can't be"),
      removeOriginals: toggle('Remove each file when its volume is safe, also of what was adopted before'),
      dryRun: toggle('Say what would happen, and change nothing'),
      name: optionalText('NAME', 'Of a tree: name of the volume [default = that of the directory]'),
      nocow: {
        kind: 'parsed',
        parse: String,
        variadic: true,
        optional: true,
        brief:
          'Of a tree: a directory in it whose files are to be overwritten in place, without checksums and compression; may be given several times',
        placeholder: 'DIRECTORY',
      },
      verify: toggle('Of a tree: read and compare all data, also where blocks are shared'),
      keep: toggle('Of a tree: leave the directory where it is, and put the volume nowhere'),
      undo: toggle('Of a tree: put the directory back that was adopted; the volume stays in the pool'),
    },
    positional: {
      kind: 'array',
      minimum: 1,
      parameter: word('PATH', 'A directory with disks, or one disk', 'file'),
    },
  },
  func: reporting(async (context, flags: Flags, ...sources: string[]) => {
    const { withPool, warnOfSpace } = await import('../session.ts');
    if (flags.kind === 'tree') {
      const { adoptTree } = await import('../adopt-tree.ts');
      await adoptTree(context, flags, sources);
      return;
    }
    requireNoTreeFlags(flags);
    const { as, copy, force, keepGoing, removeOriginals, dryRun } = flags;
    const rename = readRenames(flags.rename ?? []);
    const options = { copy, force, keepGoing, removeOriginals, dryRun, rename, ...(as && { as }) };
    await withPool(context, flags, async (pool) => {
      const { showProgress } = await import('../progress.ts');
      const result = await (async () => {
        using progress = showProgress(context, 'adopt');
        const { onProgress, signal } = progress;
        return await pool.adopt(sources, { ...options, onProgress, signal });
      })();
      print(context, flags, result, () =>
        dryRun ? planned(result, lineWidth(context.process.stdout, context.process)) : told(result),
      );
      if (!flags.json) noteRest(context, result);
      if (!dryRun) await warnOfSpace(context, pool);
      endWith(context, flags, result);
    });
  }),
});

function requireNoTreeFlags({ name, nocow, verify, keep, undo }: Flags): void {
  if (name === undefined && !nocow?.length && !verify && !keep && !undo) return;
  throw new CoppiceError(
    'invalid_argument',
    'What --name, --nocow, --verify, --keep and --undo say is of a directory tree: add --kind tree.',
  );
}

function readRenames(renames: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    renames.map((text) => {
      const at = text.lastIndexOf('=');
      if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
      throw new CoppiceError('invalid_argument', `"${text}" is no new name for a file: write FILE=NAME.`);
    }),
  );
}

function planned({ adopted, blockers }: Adopted, width: number | undefined): string {
  const rows = adopted.length === 0 ? 'Would adopt nothing.' : disks(adopted, width);
  return [rows, ...(blockers ?? []).map(({ what, remedy }) => `  but ${what}: ${remedy}`)].join('\n');
}

function disks(adopted: readonly AdoptedDisk[], width: number | undefined): string {
  return table(
    adopted,
    [
      { title: 'FILE', value: ({ file }) => file, shortens: true },
      { title: 'NAME', value: ({ name }) => name, shortens: true },
      { title: 'TYPE', value: ({ type }) => type, givesWay: 2 },
      { title: 'SIZE', value: ({ bytes }) => formatSize(bytes), align: 'right', givesWay: 1 },
      {
        title: 'BLOCKS',
        value: ({ before, shared }) => (before ? 'adopted already' : shared ? 'shared' : 'copied'),
        givesWay: 4,
      },
      {
        title: 'FILE AFTERWARDS',
        value: ({ originalRemoved }) => (originalRemoved ? 'removed' : 'stays'),
        givesWay: 3,
      },
    ],
    width,
  );
}

function told({ adopted }: Adopted): string {
  const made = adopted.filter(({ before }) => !before);
  const [removed, known] = [
    adopted.filter(({ originalRemoved }) => originalRemoved).length,
    adopted.length - made.length,
  ];
  const templates = made.filter(({ type }) => type === 'template').length;
  const parts = [
    templates > 0 && counted(templates, 'template'),
    made.length > templates && counted(made.length - templates, 'volume'),
  ].filter((part) => part !== false);
  return [
    ...(parts.length > 0 ? [`Adopted ${parts.join(' and ')}.`] : []),
    ...(adopted.length === 0 ? ['Adopted nothing.'] : []),
    ...(known > 0 ? [`${counted(known, 'disk')} had been adopted before.`] : []),
    ...(removed > 0
      ? [`Removed ${counted(removed, 'original')}.`]
      : adopted.length > 0
        ? ['The originals are as they were.']
        : []),
  ].join(' ');
}

/** What is not the result itself: it is told beside it. */
function noteRest(context: CliContext, { adopted, skipped, failed }: Adopted): void {
  const shown = 10;
  for (const { file, reason } of skipped.slice(0, shown))
    note(context, `coppice: skipped ${file}: ${reason}.`);
  if (skipped.length > shown) note(context, `coppice: skipped ${skipped.length - shown} more.`);
  for (const { file, snapshotsLeftOut: left } of adopted) {
    if (left !== undefined)
      note(
        context,
        `coppice: warning: ${file} has ${counted(left, 'snapshot')} inside, left out of its volume.`,
      );
  }
  for (const { error } of failed.slice(0, shown)) note(context, `coppice: ${error.message}`);
}

function endWith(context: CliContext, flags: Flags, { adopted, failed, cancelled }: Adopted): void {
  const [first] = failed;
  if (!first && !cancelled) return;
  const exitCode = exitCodes[cancelled || !first ? 'cancelled' : first.error.code];
  if (flags.json) {
    context.process.exitCode = exitCode; // the result itself says what failed
    return;
  }
  const inPool = new Set(adopted.map(({ file }) => file));
  const kept = failed.filter(({ file }) => inPool.has(file)).length;
  const what = [
    cancelled === true && 'Cancelled: run it again to go on with the rest.',
    failed.length > kept && `${counted(failed.length - kept, 'disk')} could not be adopted.`,
    kept > 0 && `${counted(kept, 'original')} could not be removed.`,
  ].filter((part) => part !== false);
  throw new Shown(`coppice: ${what.join(' ')}`, exitCode);
}
