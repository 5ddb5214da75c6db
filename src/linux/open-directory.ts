import { constants, openSync } from 'node:fs';
import { Descriptor } from './files.ts';

/** A directory by its path, links and all. */
export function openDirectory(path: string): Descriptor {
  return new Descriptor(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY));
}
