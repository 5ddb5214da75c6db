import { CoppiceError } from '../../model/errors.ts';
import type { ApplicationState } from '../../model/metadata.ts';
import { amendCopy } from './amend-copy.ts';
import { type Backup, startBackup, stopBackup } from './backup.ts';
import { type Choice, chooseRecipe } from './choose-recipe.ts';
import { formatPosition } from './control-file.ts';
import type { Course, CourseInput } from './course.ts';
import { describePlaces, findPlaces, type Place, requireSeen } from './layout.ts';
import { type OpenedSession, serverOf } from './open-session.ts';
import { readPostmasterFile } from './postmaster-file.ts';
import { partsIn, placeDetails } from './records.ts';
import { type ServerFacts, serverFacts } from './server-facts.ts';
import type { Session } from './session.ts';
import { walFiles } from './wal.ts';

/** Of a server that runs. What takes it long is done here: nothing is held up by that, also not other applications. */
export async function runningCourse(
  input: CourseInput,
  opened: OpenedSession,
  signal: AbortSignal,
): Promise<Course> {
  const { declaration, directory, scope } = input;
  const { session } = opened;
  const facts = await serverFacts(opened, directory, signal);
  const places = findPlaces(directory, scope);
  requireSeen(places, session.peer?.pid ?? 0, serverOf(directory));
  const choice = chooseRecipe(input, places, facts.isStandby);
  if (facts.major >= 14) await session.query('SET idle_session_timeout = 0', signal, { what: 'set it up' });
  if (choice.recipe === 'checkpoint') await checkpoint(session, facts, declaration.user, signal);
  const { user } = declaration;
  const label =
    choice.recipe === 'backup' ? await startBackup(session, { major: facts.major, user, signal }) : undefined;
  return new RunningCourse(input, session, { facts, places, choice, label });
}

interface Found {
  readonly facts: ServerFacts;
  readonly places: readonly Place[];
  readonly choice: Choice;
  /** Of the backup that was begun. */
  readonly label: string | undefined;
}

class RunningCourse implements Course {
  readonly preparation: { readonly amends: boolean };
  readonly #input: CourseInput;
  readonly #session: Session;
  readonly #found: Found;
  readonly #postmaster: string | undefined;
  #position = '';
  #redo = '';
  #isHeld = false;
  #backup: Backup | undefined;

  constructor(input: CourseInput, session: Session, found: Found) {
    this.#input = input;
    this.#session = session;
    this.#found = found;
    this.#postmaster = readPostmasterFile(input.directory.fd)?.text;
    const hasLinks = found.places.some(({ link }) => link !== undefined);
    this.preparation = { amends: found.label !== undefined || (hasLinks && input.scope.canAmend) };
  }

  async hold(signal: AbortSignal): Promise<void> {
    this.#requireUnchanged();
    const { isStandby } = this.#found.facts;
    const [row] = await this.#session.query(
      `SELECT ${isStandby ? 'pg_last_wal_replay_lsn()' : 'pg_current_wal_flush_lsn()'}::text AS position,
              redo_lsn::text AS redo
         FROM pg_control_checkpoint()`,
      signal,
      { what: 'ask it for its position' },
    );
    this.#position = String(row?.['position'] ?? '');
    this.#redo = String(row?.['redo'] ?? '');
    this.#isHeld = true;
  }

  async release(signal: AbortSignal): Promise<void> {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    const { label, facts } = this.#found;
    if (label !== undefined) {
      this.#backup = await stopBackup(this.#session, label, { major: facts.major, signal });
    } else {
      await this.#session.query('SELECT 1', signal, { what: 'see that it still runs' });
    }
    this.#requireUnchanged();
  }

  async finish(
    { directory: copy }: { readonly directory?: string },
    signal: AbortSignal,
  ): Promise<ApplicationState> {
    const { declaration, directory, scope } = this.#input;
    const { places, facts } = this.#found;
    if (this.preparation.amends) {
      if (copy === undefined) {
        throw new CoppiceError(
          'unsupported',
          `The snapshot of ${serverOf(directory)} can't be completed, because this storage shows it only later.`,
        );
      }
      const wal = this.#backup && {
        names: walFiles({ ...this.#backup, segmentBytes: facts.segmentBytes }),
        bytes: facts.segmentBytes,
        labelFile: this.#backup.labelFile,
      };
      await amendCopy(
        copy,
        { below: declaration.directory, directory, places, subject: scope.subject, wal },
        signal,
      );
    }
    const how = { areTurned: this.preparation.amends, isWalCopied: this.#backup !== undefined };
    // The slot goes with it.
    await this.#session[Symbol.asyncDispose]();
    return {
      name: declaration.name,
      level: 'application',
      recovery: 'WAL',
      details: { ...this.#details(), ...placeDetails(places, scope.subject, how) },
      ...partsIn(places, scope.subject),
    };
  }

  #details(): Record<string, string> {
    const { facts, choice } = this.#found;
    return {
      directory: this.#input.declaration.directory,
      version: facts.version,
      'system-identifier': facts.systemIdentifier,
      timeline: String(facts.timeline),
      role: facts.isStandby ? 'standby' : 'primary',
      position: this.#position,
      redo: this.#redo,
      recipe: choice.recipe,
      why: choice.why,
      ...(facts.synchronousCommit === 'off' && { 'synchronous-commit': 'off' }),
      ...(this.#backup && {
        label: this.#backup.label,
        start: formatPosition(this.#backup.start),
        stop: formatPosition(this.#backup.stop),
      }),
    };
  }

  /** A snapshot of a server that was started anew meanwhile, or got a tablespace, is not what was looked at. */
  #requireUnchanged(): void {
    const { directory, scope } = this.#input;
    const isSame =
      readPostmasterFile(directory.fd)?.text === this.#postmaster &&
      describePlaces(findPlaces(directory, scope)) === describePlaces(this.#found.places);
    if (isSame) return;
    throw new CoppiceError(
      'busy',
      `${serverOf(directory)} was stopped, or has got or lost a tablespace, while the snapshot was taken; try again.`,
    );
  }
}

async function checkpoint(
  session: Session,
  { major }: ServerFacts,
  user: string,
  signal: AbortSignal,
): Promise<void> {
  const grant = major < 15 ? `ALTER ROLE "${user}" SUPERUSER` : `GRANT pg_checkpoint TO "${user}"`;
  await session.query('CHECKPOINT', signal, { what: 'make a checkpoint', grant });
}
