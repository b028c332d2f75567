/** Requests that have no answer yet, those that wait longest first. */
import { useEffect, useState } from 'preact/hooks';
import type { JSX } from 'preact';

import { color } from '../base/color';
import { count, duration } from '../base/format';
import { Icon } from '../base/Icon';
import type { InFlight } from '../base/types';

const SHOWN = 5;

export function Flight(props: { requests: InFlight[] }): JSX.Element | null {
  const [now, setNow] = useState(Date.now());
  const some = props.requests.length > 0;
  useEffect(() => {
    if (!some) return undefined;
    const timer = setInterval(() => setNow(Date.now()), 250);
    return () => clearInterval(timer);
  }, [some]);
  if (!some) return null;
  const oldest = [...props.requests].sort((one, other) => one.start_unix_ns - other.start_unix_ns);
  return (
    <section class="flight" aria-label="In flight">
      {oldest.slice(0, SHOWN).map((request) => (
        <div class="row" key={request.span_id}>
          <span class="cell start">in flight</span>
          <span class="cell service">
            <i class="dot" style={{ background: color(request.service) }} />
            <span class="cut">{request.service}</span>
          </span>
          <span class="cell title">{request.title}</span>
          <span class="cell status">{request.lost && <span class="warn" title="Whoever traced it is gone: how it ended will not be known.">lost</span>}</span>
          <span class="cell duration">
            <b>{request.lost ? '' : duration(Math.max(0, Math.round(now * 1e6 - request.start_unix_ns)))}</b>
          </span>
          <span class="cell spans" title={`process ${request.pid}`}>
            <Icon name="play" />
          </span>
        </div>
      ))}
      {oldest.length > SHOWN && <p class="muted tiny pad">and {count(oldest.length - SHOWN)} more in flight</p>}
    </section>
  );
}
