import { provable, proveAll } from '../../consistency/proof.ts';
import { randomId } from '../../linux/random.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { SnapshotMetadata, Verification } from '../../model/metadata.ts';
import { formatReference, type Name, parseSnapshotReference } from '../../model/names.ts';
import type { Settings } from '../../model/settings.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { endServersIn } from '../end-branch.ts';
import { holdSnapshot, holdVolume } from '../holding.ts';
import { isAlive, thisKeeper } from '../keeper.ts';
import { wholeOf } from '../partners.ts';
import { requireSpace, roomForServer } from '../space.ts';
import { timestamp } from '../timestamp.ts';
import { trustedSettings } from '../trusted-settings.ts';
import { volumesOf } from '../visible.ts';
import { clone } from './clone.ts';
import { path } from './list.ts';
import { assemble, clonePartners, knownDirectories } from './part-copies.ts';
import { remove } from './remove.ts';

export interface VerifyOptions {
  /** Statements for the database, each of which must answer with true; beside what the settings `verify.sql...` say. */
  readonly sql?: readonly string[];
  /** Milliseconds for its recovery; ten minutes when absent. */
  readonly timeoutMilliseconds?: number;
  /** Where the programs of the database are, if not in the usual place. */
  readonly programs?: string;
}

export interface Verified extends Verification {
  /** `VOLUME@NAME`. */
  readonly reference: string;
}

/**
 * Proves a snapshot: starts what is declared for its volume on a throw-away clone, waits until it has recovered, and runs its own
 * checks and the user's. The result is recorded on the snapshot, whatever it is.
 * @throws CoppiceError invalid_argument when nothing is declared that could be proven
 */
export async function verify(
  context: Context,
  referenceText: string,
  options: VerifyOptions,
  control: Control,
): Promise<Verified> {
  const reference = parseSnapshotReference(referenceText);
  const { metadata, partners } = wholeOf(context, reference, `verify ${referenceText}`);
  const { applications = [] } = metadata;
  const settings = settingsFor(context, reference.volume);
  requireProvable(reference.volume, settings);
  requireSpace(context, `verify ${formatReference(reference)}`, roomForServer);
  removeLeftBehind(context, settings, control);
  const names = [reference, ...partners].map(() => `verify-${randomId().slice(0, 13)}` as Name);
  const [name] = names as [Name];
  const marks = { keeper: thisKeeper() };
  try {
    clone(context, formatReference(reference), name, {}, marks);
    context.turn.end();
    const { volumes, formerlyOf } = clonePartners(
      context,
      partners,
      (partner) => names[partners.indexOf(partner) + 1] as Name,
      marks,
    );
    control.report({ step: 'verifying', fraction: 0 });
    const copy = path(context, name);
    await assemble(copy, applications, volumes, volumes, control.signal);
    const checks = await proveAll(settings, {
      copy,
      formerly: knownDirectories(context, reference.volume),
      volumes,
      formerlyOf,
      sql: [...sqlOf(settings), ...(options.sql ?? [])],
      signal: control.signal,
      ...(options.programs !== undefined && { programs: options.programs }),
      ...(options.timeoutMilliseconds !== undefined && { timeoutMilliseconds: options.timeoutMilliseconds }),
    });
    const result = checks.every((check) => check.result === 'passed') ? 'passed' : 'failed';
    const verification: Verification = { at: timestamp(), result, checks };
    for (const each of [reference, ...partners]) record(context, each, verification);
    return { reference: formatReference(reference), ...verification };
  } finally {
    remove(context, names, { force: true, ifExists: true }, control);
  }
}

function settingsFor(context: Context, name: Name): Settings {
  using volume = holdVolume(context, name, 'shared');
  return trustedSettings(context, volume);
}

function requireProvable(volume: Name, settings: Settings): void {
  const { applications, program } = provable(settings);
  if (applications.length > 0 || program !== undefined) return;
  throw new CoppiceError(
    'invalid_argument',
    `Nothing says how snapshots of ${volume} are proven: declare its database with "coppice set ${volume} quiesce.postgres=DIRECTORY", or a program of your own with verify.program=PROGRAM, which is given the directory of a copy.`,
  );
}

/** In the order of their names: `verify.sql`, `verify.sql-b`. */
function sqlOf(settings: Settings): string[] {
  return Object.keys(settings)
    .filter((name) => /^verify\.sql(-[a-z-]+)?$/.test(name))
    .sort()
    .map((name) => settings[name] ?? '');
}

function record(
  context: Context,
  { volume: volumeName, snapshot }: ReturnType<typeof parseSnapshotReference>,
  verified: Verification,
): void {
  using volume = holdVolume(context, volumeName, 'shared');
  using held = holdSnapshot(context, volume, snapshot, 'exclusive');
  const metadata = context.driver.read(held);
  if (metadata?.type === 'snapshot')
    context.driver.write(held, { ...metadata, verified } satisfies SnapshotMetadata);
}

/** Of the copies that are made here. */
const ownName = /^verify-[0-9a-f]{8}-[0-9a-f]{4}$/;

/** Copies of others who were killed before they could remove them. */
function removeLeftBehind(context: Context, settings: Settings, control: Control): void {
  // What somebody has given a name of his own is his.
  const dead = volumesOf(context).flatMap(({ name, metadata }) =>
    metadata?.type === 'volume' && metadata.keeper && ownName.test(name) && !isAlive(metadata.keeper)
      ? [name as Name]
      : [],
  );
  for (const name of dead) {
    try {
      endServersOf(context, name, settings);
      remove(context, [name], { ifExists: true }, control);
    } catch (error) {
      // Somebody looks at it; the next one who verifies removes it.
      if (!(error instanceof CoppiceError)) throw error;
    }
  }
}

/** Those of the copy of a volume with these settings, whose verifier was killed. */
function endServersOf(context: Context, name: Name, settings: Settings): void {
  using volume = holdVolume(context, name, 'shared');
  endServersIn(context.driver.path(volume.held), settings);
}
