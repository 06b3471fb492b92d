// For a thread's `--import`: `--import tsx` itself registers nothing there (privatenumber/tsx#354).
import { register } from 'tsx/esm/api';

register();
