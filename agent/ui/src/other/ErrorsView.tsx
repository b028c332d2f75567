/** Failures by kind. */
import type { JSX } from 'preact';

import { useAsked } from '../base/asked';
import { color } from '../base/color';
import { Empty } from '../base/Empty';
import { ago, count, fullTime } from '../base/format';
import { listOf, parameter, traceOf } from '../base/place';
import { quote } from '../base/term';
import type { ErrorGroup } from '../base/types';
import { Find } from './Find';

export function ErrorsView(): JSX.Element {
  const words = parameter('find').toLowerCase();
  const [all, problem] = useAsked<ErrorGroup[]>('errors', 3000);
  const groups = (all ?? []).filter((one) => `${one.service} ${one.name} ${one.status} ${one.message}`.toLowerCase().includes(words));
  return (
    <div class="view">
      <div class="bar">
        <Find label="Find failures" placeholder="Service, name or message" />
        <span class="muted" role="status">
          {all !== null && `${count(groups.length)} kinds, ${count(groups.reduce((sum, one) => sum + one.count, 0))} failures`}
        </span>
      </div>
      {problem !== null && <p class="banner bad" role="alert">{problem}</p>}
      {all !== null && groups.length === 0 ? (
        <Empty title="No failures">{all.length === 0 ? 'Nothing failed so far.' : 'None of them matches.'}</Empty>
      ) : (
        <ul class="groups" aria-label="Kinds of failures">
          {groups.slice(0, 300).map((one) => (
            <li key={`${one.service}\n${one.name}\n${one.status}\n${one.message}`}>
              <b class="group-count">{count(one.count)}</b>
              <div class="group-main">
                <a class="group-title" href={`${traceOf(one.trace_id)}?show=errors`}>
                  <i class="dot" style={{ background: color(one.service) }} />
                  <span class="service">{one.service}</span> {one.name} {one.status !== '' && <b class="code bad">{one.status}</b>}
                </a>
                <p class="group-message">{one.message === '' ? 'It says nothing more.' : one.message}</p>
              </div>
              <div class="group-times">
                <span title={fullTime(one.last_unix_ns)}>last {ago(one.last_unix_ns)}</span>
                <span title={fullTime(one.first_unix_ns)}>first {ago(one.first_unix_ns)}</span>
              </div>
              <a class="button" href={listOf(`service:${quote(one.service)} name:${quote(one.name)} ${one.status === '' ? 'error:true' : `status:${quote(one.status)}`}`)}>
                All its traces
              </a>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
