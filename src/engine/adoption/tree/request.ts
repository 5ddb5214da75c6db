import type { Blocker } from '../../../model/errors.ts';

export interface AdoptTreeOptions {
  /** Of the volume; that of the directory when absent. */
  readonly name?: string;
  /** Directories in it whose files are to be overwritten in place, beside those that are so already. */
  readonly nodatacow?: readonly string[];
  /** Copy what can't share its blocks. */
  readonly copy?: boolean;
  /** Read and compare the data of files also where they share their blocks. */
  readonly verify?: boolean;
  /** Go on although somebody uses it: what he writes from then on is lost, or stays in the original. */
  readonly force?: boolean;
  /** Leave the directory as it is, and put the volume nowhere. */
  readonly keep?: boolean;
  readonly dryRun?: boolean;
}

export interface TreeAdopted {
  readonly volume: string;
  /** Absent in a dry run. */
  readonly id?: string;
  /** The directory, without links on the way. */
  readonly path: string;
  readonly entries: number;
  /** Of all files. */
  readonly bytes: number;
  /** How the volume got its data; `copy` also where only some files did not share their blocks. */
  readonly method: 'snapshot' | 'reflink' | 'copy';
  /** Where the directory is that was there before; the path has become a link to the volume. Absent where it was left alone. */
  readonly original?: string;
  /** It had been adopted before. */
  readonly before?: true;
  /** What stands in the way; only in a dry run, else it is an error. */
  readonly blockers?: readonly Blocker[];
  /** What the volume does not keep, a sentence each. */
  readonly warnings?: readonly string[];
}
