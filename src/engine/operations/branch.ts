import { join } from 'node:path';
import { startServer } from '../../consistency/postgres/branch.ts';
import { openDataDirectory } from '../../consistency/postgres/data-directory.ts';
import { parsePostgres } from '../../consistency/postgres/declaration.ts';
import { makeSafe } from '../../consistency/postgres/make-safe.ts';
import { makeSocketDirectory } from '../../consistency/postgres/own-sockets.ts';
import { CoppiceError } from '../../model/errors.ts';
import { formatReference, type Name, parseReference, parseVolumeName } from '../../model/names.ts';
import { type Settings, settingsOf } from '../../model/settings.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { holdVolume } from '../holding.ts';
import { trustedSettings } from '../trusted-settings.ts';
import { type Cloned, clone } from './clone.ts';
import { path } from './list.ts';
import { remove } from './remove.ts';

export interface BranchOptions {
  /** Only make it safe to be started, and start nothing. */
  readonly start?: boolean;
  /** Of the sockets of its servers, which are their only doors; 5432 when absent. */
  readonly port?: number;
  readonly programs?: string;
}

export interface Branched extends Cloned {
  readonly servers: readonly BranchServer[];
}

export interface BranchServer {
  /** As its application is declared: `postgres`. */
  readonly name: string;
  readonly socketDirectory: string;
  readonly port: number;
  readonly user: string;
  readonly isRunning: boolean;
}

/**
 * Makes a writable clone with servers of its own, to look, test or migrate on. They reach nothing outside of it: no archive, no standby,
 * no subscription, no network. Removing the clone ends them.
 * @param sourceText a snapshot; a volume itself would be as after a power cut
 * @throws CoppiceError invalid_argument when no database is declared for the volume
 */
export async function branch(
  context: Context,
  sourceText: string,
  nameText: string,
  options: BranchOptions,
  control: Control,
): Promise<Branched> {
  const reference = parseReference(sourceText);
  const name = parseVolumeName(nameText);
  const { settings, directory } = lookAt(context, reference.volume);
  const databases = settingsOf(settings, 'quiesce')
    .filter(([kind]) => /^postgres(\.|$)/.test(kind))
    .map(([kind, value]) => parsePostgres(kind, value));
  if (databases.length === 0) {
    throw new CoppiceError(
      'invalid_argument',
      `No database is declared for ${reference.volume}, so there is nothing to start on a branch of it; declare it with "coppice set ${reference.volume} quiesce.postgres=DIRECTORY", or make an ordinary clone.`,
    );
  }
  const port = options.port ?? 5432;
  const cloned = clone(
    context,
    formatReference(reference),
    name,
    {},
    {
      branch: true,
      // By these, whoever removes it finds its servers, also should we die now.
      settings: Object.fromEntries(
        databases.map(({ name: kind, directory: below }) => [`quiesce.${kind}`, below]),
      ),
    },
  );
  context.turn.end();
  control.report({ step: 'starting', fraction: 0 });
  try {
    const copy = path(context, name);
    const own: Record<string, string> = {};
    const servers: BranchServer[] = [];
    for (const [index, { name: kind, directory: below, user, database }] of databases.entries()) {
      const socketName = `.branch-socket${index === 0 ? '' : `-${index + 1}`}`;
      const socketDirectory = join(copy, socketName);
      {
        using data = openDataDirectory(copy, below);
        makeSocketDirectory(copy, socketName, data.owner);
      }
      const safe = {
        below,
        socketDirectory,
        port,
        formerly: [directory],
        ...(options.programs !== undefined && { programs: options.programs }),
      };
      if (options.start === false) await makeSafe(copy, safe);
      else await startServer(copy, safe, control.signal);
      own[`quiesce.${kind}`] =
        `${below},socket=${socketDirectory},port=${port},user=${user},database=${database}`;
      servers.push({ name: kind, socketDirectory, port, user, isRunning: options.start !== false });
    }
    declare(context, name, own);
    return { ...cloned, servers };
  } catch (error) {
    remove(context, [name], { ifExists: true }, control);
    throw error;
  }
}

/** Snapshots of the branch are consistent for its own servers. */
function declare(context: Context, name: Name, settings: Settings): void {
  using volume = holdVolume(context, name, 'exclusive');
  context.driver.write(volume.held, { ...volume.metadata, settings });
}

function lookAt(context: Context, name: Name): { readonly settings: Settings; readonly directory: string } {
  using volume = holdVolume(context, name, 'shared');
  return { settings: trustedSettings(context, volume), directory: context.driver.path(volume.held) };
}
