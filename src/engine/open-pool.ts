import { checkArguments, functionArguments } from './arguments.ts';
import { auditSetup } from './audit.ts';
import type { PoolHandle } from './context.ts';
import { type Executor, inlineExecutor } from './executor.ts';
import { explainFailure } from './failures.ts';
import { Pool } from './pool.ts';
import { defaultPoolPath } from './pools/default-path.ts';
import { openPoolRoot } from './pools/open.ts';
import { Runner } from './runner.ts';

export interface OpenOptions {
  /** Run operations in the calling thread, which they block, instead of in worker threads. For short-lived processes. */
  readonly inline?: boolean;
  /** How long to wait for a volume that another operation holds, in milliseconds; `Infinity` is for ever. 30,000 when absent. */
  readonly lockTimeout?: number;
  /** The file that changes are told to, one line of JSON each, where it or its directory is there: /var/log/coppice/audit.jsonl when absent. */
  readonly auditLog?: string;
  /** What that calls this program: `library` when absent. */
  readonly program?: string;
}

/** Opens a pool; @throws CoppiceError not_a_pool, unsupported. What a process that died had left unfinished is cleaned up. */
export async function openPool(path: string = defaultPoolPath, options: OpenOptions = {}): Promise<Pool> {
  checkArguments('openPool', functionArguments.openPool, [path, options]);
  try {
    return await open(path, options);
  } catch (error) {
    throw explainFailure(`open the pool ${path}`, error);
  }
}

async function open(path: string, options: OpenOptions): Promise<Pool> {
  const root = openPoolRoot(path);
  try {
    const audit = auditSetup(options.auditLog, options.program);
    const handle = { path: root.path, root: root.fd, metadata: root.metadata, audit };
    const { inline = false, lockTimeout = 30_000 } = options;
    const executor = await makeExecutor(handle, inline, lockTimeout === Number.POSITIVE_INFINITY);
    await executor.run('sweep', []).catch(async (error) => {
      await executor.close();
      throw error;
    });
    const identity = { path: root.path, id: root.metadata.id, session: audit.session };
    return new Pool(identity, new Runner(executor, lockTimeout), root);
  } catch (error) {
    root[Symbol.dispose]();
    throw error;
  }
}

async function makeExecutor(handle: PoolHandle, inline: boolean, wait: boolean): Promise<Executor> {
  if (inline) return inlineExecutor(handle, wait);
  const { workerExecutor } = await import('./worker-executor.ts');
  return workerExecutor(handle);
}
