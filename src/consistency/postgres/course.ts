import type { ApplicationState } from '../../model/metadata.ts';
import type { Copy, Preparation, Scope } from '../quiescer.ts';
import type { DataDirectory } from './data-directory.ts';
import type { PostgresDeclaration } from './declaration.ts';

export interface CourseInput {
  readonly declaration: PostgresDeclaration;
  readonly directory: DataDirectory;
  readonly scope: Scope;
}

/** What a snapshot of a cluster takes, in the state that it was found in. */
export interface Course {
  readonly preparation: Preparation;
  hold(signal: AbortSignal): Promise<void>;
  release(signal: AbortSignal): Promise<void>;
  finish(copy: Copy, signal: AbortSignal): Promise<ApplicationState>;
}
