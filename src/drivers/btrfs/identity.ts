/** On the subvolume itself: the id of the volume that it was made for, which goes with its snapshots and streams. */
export const identityAttribute = 'user.coppice.volume';
