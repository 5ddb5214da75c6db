/** Where a pool lies when nothing else is said. */
export const defaultPoolPath = '/var/lib/coppice';
