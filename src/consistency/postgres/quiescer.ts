import { CoppiceError } from '../../model/errors.ts';
import type { ApplicationState } from '../../model/metadata.ts';
import type { Copy, Preparation, Quiescer, Scope, StepLimits } from '../quiescer.ts';
import type { Course } from './course.ts';
import { type DataDirectory, openDataDirectory } from './data-directory.ts';
import { type PostgresDeclaration, parsePostgres } from './declaration.ts';
import { meetServer } from './meet-server.ts';
import { runningCourse } from './running.ts';
import { stoppedCourse } from './stopped.ts';

/** A cluster of PostgreSQL, 13 or newer. @throws CoppiceError invalid_argument */
export function make(name: string, value: string): Quiescer {
  return new PostgresQuiescer(parsePostgres(name, value));
}

class PostgresQuiescer implements Quiescer {
  readonly name: string;
  /** The server may turn out to be stopped, which is more. */
  readonly level = 'application';
  readonly limits: StepLimits;
  readonly #declaration: PostgresDeclaration;
  readonly #owned = new AsyncDisposableStack();
  #course: Course | undefined;

  constructor(declaration: PostgresDeclaration) {
    this.name = declaration.name;
    this.#declaration = declaration;
    // Checkpoints are in the first, the end of a backup in the third; in between there is only a look.
    const patience = declaration.timeout ?? 60_000;
    this.limits = { prepare: patience, hold: 10_000, release: patience, finish: 600_000 };
  }

  async prepare(scope: Scope, signal: AbortSignal): Promise<Preparation> {
    const directory = this.#owned.use(this.#open(scope));
    const met = await meetServer(directory, this.#declaration, signal);
    const input = { declaration: this.#declaration, directory, scope };
    if (met === 'stopped' || met === 'crashed') {
      this.#course = stoppedCourse(input, met);
    } else {
      this.#owned.use(met.session);
      this.#course = await runningCourse(input, met, signal);
    }
    return this.#course.preparation;
  }

  async hold(signal: AbortSignal): Promise<void> {
    await this.#prepared().hold(signal);
  }

  async release(signal: AbortSignal): Promise<void> {
    await this.#course?.release(signal);
  }

  async finish(copy: Copy, signal: AbortSignal): Promise<ApplicationState> {
    return this.#prepared().finish(copy, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }

  #open({ subject }: Scope): DataDirectory {
    if (subject.directory !== undefined)
      return openDataDirectory(subject.directory, this.#declaration.directory);
    throw new CoppiceError(
      'unsupported',
      `The volume "${subject.volume}" is a disk, and PostgreSQL is quiesced by quiesce.${this.name} in a directory; a guest quiesces what runs in it when it is frozen.`,
    );
  }

  #prepared(): Course {
    if (this.#course) return this.#course;
    throw new CoppiceError('io_error', `quiesce.${this.name} was not prepared.`);
  }
}
