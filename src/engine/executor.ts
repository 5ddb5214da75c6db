import { CoppiceError } from '../model/errors.ts';
import type { Attribution } from './audit.ts';
import { type Context, createContext, type PoolHandle } from './context.ts';
import type { Control } from './control.ts';
import { explainFailure } from './failures.ts';
import {
  changes,
  countingOperations,
  longOperations,
  type OperationArguments,
  type OperationName,
  type OperationResult,
  operations,
} from './operations.ts';

/** Where operations run: in this thread, or in worker threads. */
export interface Executor {
  /** @param andCommit make it durable in the same thread before it counts as done; not for long operations */
  run<N extends OperationName>(
    name: N,
    args: OperationArguments<N>,
    control?: Control,
    andCommit?: boolean,
    by?: Attribution,
  ): Promise<OperationResult<N>>;
  close(): Promise<void>;
}

/**
 * Runs operations in the calling thread, which they block: right for a process with nothing else to do, such as the command
 * line.
 * @param wait for locks in the kernel, where there is no end to it: for as long as the holder lives, even if it is stopped
 */
export function inlineExecutor(handle: PoolHandle, wait: boolean): Executor {
  const context = createContext(handle, wait);
  let last: Promise<unknown> = Promise.resolve();
  return {
    run(name, args, control, andCommit, by) {
      // One at a time: a second one would wait in the kernel for a lock of the first, which then could never go on.
      const mine = last.then(() => {
        try {
          const result = perform(context, name, args, control, by);
          if (andCommit) void perform(context, 'commit', []); // which is over when it returns
          return result;
        } finally {
          context.turn.end();
        }
      });
      last = mine.catch(() => {});
      return mine;
    },
    close: async () => context[Symbol.dispose](),
  };
}

const quiet: Control = { signal: undefined, report: () => {} };

/**
 * Runs one operation by its name, and explains its failure. Only long operations take time of their own: the others are over. The
 * caller ends the turn of those that it runs in a row.
 */
export function perform<N extends OperationName>(
  context: Context,
  name: N,
  args: OperationArguments<N>,
  control: Control = quiet,
  by?: Attribution,
): OperationResult<N> | Promise<OperationResult<N>> {
  if (!context.audit || !isAudited(name) || isDryRun(args))
    return performQuietly(context, name, args, control);
  const { audit } = context;
  const began = performance.now();
  const tell = (failure?: unknown): void => {
    // Whoever finds it busy tries again, and nothing has happened.
    if (failure instanceof CoppiceError && failure.code === 'busy') return;
    audit.append(name, args, began, failure, by);
  };
  const failed = (error: unknown): never => {
    tell(error);
    throw error;
  };
  try {
    const result = performQuietly(context, name, args, control);
    if (!(result instanceof Promise)) {
      // What changes something says what it has changed.
      if (result !== undefined) tell();
      return result;
    }
    return result.then((value) => {
      tell();
      return value;
    }, failed);
  } catch (error) {
    return failed(error);
  }
}

/** What changes the pool, or files of the host. */
function isAudited(name: OperationName): boolean {
  return changes.has(name) || name === 'export';
}

/** What only looks changes nothing, and nobody needs to know. */
function isDryRun(args: readonly unknown[]): boolean {
  const options = args.at(-1);
  return typeof options === 'object' && options !== null && Reflect.get(options, 'dryRun') === true;
}

function performQuietly<N extends OperationName>(
  context: Context,
  name: N,
  args: OperationArguments<N>,
  control: Control,
): OperationResult<N> | Promise<OperationResult<N>> {
  const operation = operations[name] as (
    ...values: unknown[]
  ) => OperationResult<N> | Promise<OperationResult<N>>;
  const explain = (error: unknown): never => {
    throw explainFailure(describe(name, args), error);
  };
  if (name !== 'clone') context.turn.end();
  try {
    if (countingOperations.has(name)) return operation(context, ...args, control);
    if (!longOperations.has(name)) return operation(context, ...args);
    return Promise.resolve(operation(context, ...args, control)).catch(explain);
  } catch (error) {
    return explain(error);
  }
}

function describe(name: OperationName, args: readonly unknown[]): string {
  const subjects = args.flat().filter((value): value is string => typeof value === 'string');
  const many = subjects.length > 4 ? [...subjects.slice(0, 3), `and ${subjects.length - 3} more`] : subjects;
  return [verbs[name] ?? name, ...many].join(' ');
}

const verbs: Partial<Record<OperationName, string>> = {
  usage: 'measure',
  snapshotTogether: 'snapshot',
  snapshotAtRest: 'snapshot',
  rollbackStopped: 'rollback',
  rollbackTogether: 'rollback',
  set: 'change the settings of',
  settings: 'read the settings of',
};
