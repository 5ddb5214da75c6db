import type { AdoptedFile } from '../../model/metadata.ts';
import type { Context } from '../context.ts';
import { volumesOf } from '../visible.ts';
import type { DiskType } from './plan.ts';

export interface AdoptedBefore {
  readonly name: string;
  readonly id: string;
  readonly type: DiskType;
  readonly file: AdoptedFile;
}

/** What in the pool was made by adoption, and still has its disk. */
export function adoptedIn(context: Context): AdoptedBefore[] {
  return volumesOf(context).flatMap(({ name, metadata, bytes }) => {
    if (metadata?.type !== 'volume' || !metadata.adopted || bytes === undefined) return [];
    const { id, sealed, adopted: file } = metadata;
    return [{ name, id, type: sealed ? 'template' : 'volume', file }];
  });
}
