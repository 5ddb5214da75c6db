import './shifted-clock.ts';
import './dying.ts';
import '../../src/engine/worker.ts';
