import { buildCommand, type Command } from '@stricli/core';
import { formatSize } from '../../../model/sizes.ts';
import { print, reporting } from '../../command.ts';
import { type CliContext, type PoolFlags, poolFlags, poolPathArgument, withExamples } from '../../context.ts';
import { properties } from '../../table.ts';

export const poolShowCommand: Command<CliContext> = buildCommand<PoolFlags, [string?], CliContext>({
  docs: {
    brief: 'Show a pool: where it lies, its space, what it can do',
    fullDescription: withExamples(
      'Shows where a pool lies, its space and that of the host under it, what is in it and what it can do.',
      'coppice pool show',
      'coppice pool show /srv/vms --json',
    ),
  },
  parameters: { flags: poolFlags, positional: { kind: 'tuple', parameters: [poolPathArgument] } },
  func: reporting(async (context, flags: PoolFlags, path?: string) => {
    const { withPool } = await import('../../session.ts');
    const pool = path ?? flags.pool;
    const description = await withPool(context, pool === undefined ? {} : { pool }, (opened) =>
      opened.describe(),
    );
    const { backing, space } = description;
    print(context, flags, description, () =>
      properties([
        ['Pool', description.path],
        ['Driver', description.driver],
        [
          'Lies on',
          backing.type === 'loop'
            ? `${backing.file} (${backing.preallocated ? 'preallocated' : 'sparse'})`
            : backing.type === 'device'
              ? backing.device
              : backing.type === 'zpool'
                ? backing.devices.join(', ')
                : 'a file system that was there before',
        ],
        ['Device', description.device || undefined],
        ['Mounted with', description.mountOptions.join(',') || undefined],
        ['Size', formatSize(space.totalBytes)],
        ['Free', formatSize(space.freeBytes)],
        ['Compression', space.compressRatio === undefined ? undefined : `${space.compressRatio.toFixed(2)}x`],
        [
          'Free on host',
          space.host &&
            `${formatSize(space.host.freeBytes)} in ${space.host.path} (${formatSize(space.host.reserveBytes)} of it are kept in reserve)`,
        ],
        ['Templates', String(description.templates)],
        ['Volumes', String(description.volumes)],
        ['Snapshots', String(description.snapshots)],
        ['Tombstones', description.tombstones > 0 ? String(description.tombstones) : undefined],
        ...Object.values(description.capabilities)
          .filter((value) => value !== true)
          .map((reason) => ['Limit', reason] as const),
        ['ID', description.id],
      ]),
    );
  }),
});
