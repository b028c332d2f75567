import type { JSX } from 'preact';

import { Empty } from '../base/Empty';

export function MapView(): JSX.Element {
  return <Empty title="No map yet">This store tells of no calls between services.</Empty>;
}
