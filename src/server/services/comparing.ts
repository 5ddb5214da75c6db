import { ConnectError, type ServiceImpl } from '@connectrpc/connect';
import type { VolumeService } from '../../api/generated/coppice/v1/volume_service_pb.ts';
import { parseResourceName } from '../../api/resource-names.ts';
import { CoppiceError } from '../../model/errors.ts';
import { type ServerContext, servedPool } from '../context.ts';
import { toDiffResponse } from '../convert-diff.ts';
import { badRequest, unavailable } from '../failures.ts';
import { Lanes } from '../jobs/lanes.ts';
import { comparison } from '../pools/comparison.ts';
import { requireOfPool } from './looking.ts';
import { poolIn, referenceIn } from './naming.ts';

/** How many comparisons run at once in a pool: each reads much, and keeps what it has found. */
const width = 2;

/** What is different in two states of directory trees. */
export function comparing(context: ServerContext): Pick<ServiceImpl<typeof VolumeService>, 'diffSnapshots'> {
  const lanes = new Lanes();
  return {
    async *diffSnapshots({ before, after, summaryOnly }, { signal: gone }) {
      const pool = poolIn(before);
      if (after !== '') requireOfPool([after], 'after', pool);
      else if (parseResourceName(before)?.kind === 'volume')
        throw badRequest([{ field: 'after', description: 'must be given where `before` is no snapshot' }]);
      const { path, pool: open } = servedPool(context, pool);
      const signal = AbortSignal.any([gone, context.stopping]);
      const task = {
        path,
        id: open.id,
        from: referenceIn(before),
        to: after === '' ? null : referenceIn(after),
        isSummary: summaryOnly,
      };
      lanes.requireRoom(pool);
      try {
        using turn = await lanes.enter(pool, width, signal);
        void turn;
        for await (const piece of comparison(task, signal)) yield toDiffResponse(piece);
      } catch (error) {
        // A stream that just ended would look as if that were all.
        if (context.stopping.aborted)
          throw unavailable('STOPPING', 'The server is stopping; ask again later.', 5);
        if (!gone.aborted) throw error;
        throw gone.reason instanceof ConnectError
          ? gone.reason
          : new CoppiceError('cancelled', 'The client has gone.');
      }
    },
  };
}
