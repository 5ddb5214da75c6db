import { join } from 'node:path';
import { postgresIn } from '../../consistency/declared-volumes.ts';
import { startServer } from '../../consistency/postgres/branch.ts';
import { openDataDirectory } from '../../consistency/postgres/data-directory.ts';
import { makeSafe } from '../../consistency/postgres/make-safe.ts';
import { makeSocketDirectory } from '../../consistency/postgres/own-sockets.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { ApplicationState } from '../../model/metadata.ts';
import { formatReference, type Name, parseName, parseReference, parseVolumeName } from '../../model/names.ts';
import type { Settings } from '../../model/settings.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { holdVolume } from '../holding.ts';
import { type PartnerSnapshot, wholeOf } from '../partners.ts';
import { requireSpace, roomForServer } from '../space.ts';
import { trustedSettings } from '../trusted-settings.ts';
import { type Cloned, clone } from './clone.ts';
import { path } from './list.ts';
import { assemble, clonePartners, knownDirectories, type PartCopies } from './part-copies.ts';
import { remove } from './remove.ts';

export interface BranchOptions {
  /** Only make it safe to be started, and start nothing. */
  readonly start?: boolean;
  /** Of the sockets of its servers, which are their only doors; 5432 when absent. */
  readonly port?: number;
  readonly programs?: string;
}

export interface Branched extends Cloned {
  /** The volumes that were cloned with it, because its database lies in them, too: they are removed with it. */
  readonly with?: readonly string[];
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
  const { partners, applications } = lookAt(context, reference);
  const databases = postgresIn(settingsFor(context, reference.volume));
  if (databases.length === 0) {
    throw new CoppiceError(
      'invalid_argument',
      `No database is declared for ${reference.volume}, so there is nothing to start on a branch of it; declare it with "coppice set ${reference.volume} quiesce.postgres=DIRECTORY", or make an ordinary clone.`,
    );
  }
  if (!reference.snapshot && databases.some(({ volumes }) => volumes.length > 0)) {
    throw new CoppiceError(
      'invalid_argument',
      `The database of ${reference.volume} lies in several volumes, which only a snapshot has all of: take one with "coppice snapshot ${reference.volume}", and name it.`,
    );
  }
  requireSpace(context, `branch ${reference.volume}`, roomForServer);
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
    const copies = cloneAll(context, partners, name, cloned.id);
    const copy = path(context, name);
    await assemble(copy, applications, copies.volumes, copies.volumes, control.signal);
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
        formerly: knownDirectories(context, reference.volume),
        volumes: copies.volumes,
        formerlyOf: copies.formerlyOf,
        ...(options.programs !== undefined && { programs: options.programs }),
      };
      if (options.start === false) await makeSafe(copy, safe);
      else await startServer(copy, safe, control.signal);
      const along = copies.names.length > 0 ? `,volumes=${copies.names.join('+')}` : '';
      own[`quiesce.${kind}`] =
        `${below},socket=${socketDirectory},port=${port},user=${user},database=${database}${along}`;
      servers.push({ name: kind, socketDirectory, port, user, isRunning: options.start !== false });
    }
    declare(context, name, own);
    return { ...cloned, ...(copies.names.length > 0 && { with: copies.names }), servers };
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

/** Of a volume itself nothing is known of what it would need. */
function lookAt(
  context: Context,
  { volume, snapshot }: ReturnType<typeof parseReference>,
): {
  readonly partners: readonly PartnerSnapshot[];
  readonly applications: readonly ApplicationState[];
} {
  if (!snapshot) return { partners: [], applications: [] };
  const reference = { volume, snapshot };
  const { partners, metadata } = wholeOf(context, reference, `branch ${formatReference(reference)}`);
  return { partners, applications: metadata.applications ?? [] };
}

/** Named after the branch; whoever removes that finds them by its id. */
function cloneAll(
  context: Context,
  partners: readonly PartnerSnapshot[],
  branchName: Name,
  branchOf: string,
): PartCopies {
  const nameOf = ({ volume }: PartnerSnapshot): Name => parseName(`${branchName}-${volume}`);
  return clonePartners(context, partners, nameOf, { branchOf });
}

function settingsFor(context: Context, name: Name): Settings {
  using volume = holdVolume(context, name, 'shared');
  return trustedSettings(context, volume);
}
