import { constants, readdirSync } from 'node:fs';
import { isRegularFile, statusAt } from '../../linux/file-status.ts';
import { openBeneath } from '../../linux/files.ts';
import { openDirectory } from '../../linux/open-directory.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { ApplicationState } from '../../model/metadata.ts';
import { amendCopy } from './amend-copy.ts';
import { partsApart, requireCopied } from './choose-recipe.ts';
import { type ControlFile, parsePosition, readControlFile } from './control-file.ts';
import type { Course, CourseInput } from './course.ts';
import { openDataDirectory, pathBelow } from './data-directory.ts';
import { describePlaces, findPlaces, type Place } from './layout.ts';
import { serverOf } from './open-session.ts';
import { readPostmasterFile } from './postmaster-file.ts';
import { partsIn, placeDetails } from './records.ts';
import { serverProcesses } from './server-processes.ts';
import { walFiles, walName } from './wal.ts';

/** Of a server that does not run. */
export function stoppedCourse(input: CourseInput, met: 'stopped' | 'crashed'): Course {
  const { directory, scope } = input;
  const control = readControlFile(directory.fd);
  if (!control) {
    throw new CoppiceError(
      'unsupported',
      `${serverOf(directory)} does not run, and its global/pg_control can't be read or is of a version that is not known, so it can't be told whether it was shut down; start it for the snapshot.`,
    );
  }
  const places = findPlaces(directory, scope);
  const apart = partsApart(places, scope);
  if (apart !== undefined) {
    requireCopied(input, places);
    requireAmendable(input, control, met, apart);
  }
  return new StoppedCourse(input, { control, places, met, apart });
}

function requireAmendable(
  { directory, scope }: CourseInput,
  control: ControlFile,
  met: string,
  apart: string,
): void {
  if (met === 'crashed' || !isClean(control)) {
    throw new CoppiceError(
      'unsupported',
      `${serverOf(directory)} does not run, but was not shut down, and ${apart}: start it, then take the snapshot or stop it properly.`,
    );
  }
  if (scope.canAmend) return;
  throw new CoppiceError(
    'unsupported',
    `${serverOf(directory)} does not run, but ${apart}, and this storage can't write that into the snapshot: put all of it into the volume.`,
  );
}

interface Found {
  readonly control: ControlFile;
  readonly places: readonly Place[];
  readonly met: 'stopped' | 'crashed';
  readonly apart: string | undefined;
}

class StoppedCourse implements Course {
  readonly preparation: { readonly amends: boolean };
  readonly #input: CourseInput;
  readonly #found: Found;
  readonly #postmaster: string | undefined;
  #isHeld = false;

  constructor(input: CourseInput, found: Found) {
    this.#input = input;
    this.#found = found;
    this.#postmaster = readPostmasterFile(input.directory.fd)?.text;
    const hasLinks = found.places.some(({ link }) => link !== undefined);
    this.preparation = { amends: found.apart !== undefined || (hasLinks && input.scope.canAmend) };
  }

  async hold(): Promise<void> {
    this.#requireStopped();
    this.#isHeld = true;
  }

  async release(): Promise<void> {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#requireStopped();
  }

  async finish(
    { directory: copy }: { readonly directory?: string },
    signal: AbortSignal,
  ): Promise<ApplicationState> {
    const { declaration, directory, scope } = this.#input;
    const { control, places, met, apart } = this.#found;
    if (copy !== undefined) {
      this.#requireSameState(copy);
      if (this.preparation.amends) {
        const wal = apart === undefined ? undefined : this.#lastWal();
        const { subject } = scope;
        await amendCopy(copy, { below: declaration.directory, directory, places, subject, wal }, signal);
      }
    }
    return {
      name: declaration.name,
      level: 'cold',
      recovery: isClean(control) ? 'none' : 'WAL',
      details: {
        directory: declaration.directory,
        version: String(directory.version),
        'system-identifier': control.systemIdentifier,
        timeline: String(control.timeline),
        redo: control.redo,
        recipe: 'stopped',
        why:
          met === 'crashed'
            ? 'the server does not run, and has left a postmaster.pid'
            : 'the server does not run',
        state: control.state,
        ...placeDetails(places, scope.subject, {
          areTurned: this.preparation.amends,
          isWalCopied: apart !== undefined,
        }),
      },
      ...partsIn(places, scope.subject),
    };
  }

  /** The checkpoint at which it was shut down, which lies in one file or on the boundary of two. */
  #lastWal(): { readonly names: readonly string[]; readonly bytes: number } {
    const { directory } = this.#input;
    const { timeline, redo } = this.#found.control;
    using opened = openDirectory(pathBelow(directory.fd, 'pg_wal'));
    const there = readdirSync(pathBelow(opened.fd, '.')).filter((name) => walName.test(name));
    const bytes = sizeOf(opened.fd, there[0]);
    if (bytes === 0)
      throw new CoppiceError('damaged', `${serverOf(directory)} has no WAL, so it could not be started.`);
    const start = parsePosition(redo) ?? 0n;
    const names = walFiles({ timeline, start, stop: start + BigInt(bytes) + 1n, segmentBytes: bytes });
    return { names: names.slice(0, 2).filter((name, index) => index === 0 || there.includes(name)), bytes };
  }

  #requireSameState(copy: string): void {
    using target = openDataDirectory(copy, this.#input.declaration.directory);
    const { state, redo } = readControlFile(target.fd) ?? {};
    const { control } = this.#found;
    if (state !== control.state || redo !== control.redo) throw this.#changed();
  }

  #requireStopped(): void {
    const { directory, scope } = this.#input;
    const { control, places } = this.#found;
    const now = readControlFile(directory.fd);
    const isSame =
      readPostmasterFile(directory.fd)?.text === this.#postmaster &&
      serverProcesses(directory).pids.length === 0 &&
      now?.state === control.state &&
      now.redo === control.redo &&
      describePlaces(findPlaces(directory, scope)) === describePlaces(places);
    if (!isSame) throw this.#changed();
  }

  #changed(): CoppiceError {
    return new CoppiceError(
      'busy',
      `${serverOf(this.#input.directory)} did not run, and was started while the snapshot was taken; try again.`,
    );
  }
}

function isClean({ state }: ControlFile): boolean {
  return state === 'shut down' || state === 'shut down in recovery';
}

function sizeOf(directory: number, name: string | undefined): number {
  if (name === undefined) return 0;
  using file = openBeneath(directory, name, constants.O_RDONLY | constants.O_NONBLOCK);
  const status = statusAt(file.fd, '');
  return isRegularFile(status) ? status.bytes : 0;
}
