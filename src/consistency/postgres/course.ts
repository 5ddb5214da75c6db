import type { ApplicationState } from '../../model/metadata.ts';
import type { Copy, Preparation } from '../quiescer.ts';

/** What a snapshot of a cluster takes, in the state that it was found in. */
export interface Course {
  readonly preparation: Preparation;
  hold(signal: AbortSignal): Promise<void>;
  release(signal: AbortSignal): Promise<void>;
  finish(copy: Copy, signal: AbortSignal): Promise<ApplicationState>;
}
