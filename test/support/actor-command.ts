import './shifted-clock.ts';
import './dying.ts';
import '../../src/cli/main.ts';
