import { defaultPoolPath } from '../engine/pools/default-path.ts';

/** Which pool is meant: the argument or flag, the environment, the default. */
export function poolPath(
  { process }: { readonly process: Pick<NodeJS.Process, 'env'> },
  path: string | undefined,
): string {
  return path ?? (process.env['COPPICE_POOL'] || defaultPoolPath);
}
