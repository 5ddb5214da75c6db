import type { AdoptedFile } from '../../model/metadata.ts';
import type { Context } from '../context.ts';
import { volumesOf } from '../visible.ts';
import type { DiskType } from './plan.ts';

export interface AdoptedBefore {
  readonly name: string;
  readonly id: string;
  readonly type: DiskType;
  readonly file: AdoptedFile;
  /** The size of its disk, as it is now; undefined when that is gone. */
  readonly bytes: number | undefined;
}

/** What in the pool was made by adoption. */
export function adoptedIn(context: Context): AdoptedBefore[] {
  return volumesOf(context).flatMap(({ name, metadata, bytes }) => {
    if (metadata?.type !== 'volume' || !metadata.adopted) return [];
    const { id, sealed, adopted: file } = metadata;
    return [{ name, id, type: sealed ? 'template' : 'volume', file, bytes }];
  });
}
