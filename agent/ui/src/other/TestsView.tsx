/** Requests by the test case that made them. */
import type { JSX } from 'preact';

import { parameters } from '../base/api';
import { useAsked } from '../base/asked';
import { Empty } from '../base/Empty';
import { ago, count, duration, fullTime, percent } from '../base/format';
import { listOf, parameter } from '../base/place';
import { quote } from '../base/term';
import type { TestCase } from '../base/types';
import { Find } from './Find';
import { Runs } from './Runs';

export function TestsView(): JSX.Element {
  const run = parameter('run');
  const words = parameter('find').toLowerCase();
  const [all, problem] = useAsked<TestCase[]>(`tests${parameters({ run })}`, 3000);
  const rows = (all ?? []).filter((one) => one.name.toLowerCase().includes(words));
  const traces = (one: TestCase, more = '') => listOf(`test:${quote(one.name)}${run === '' ? '' : ` run:${run}`}${more}`);
  return (
    <div class="view">
      <div class="bar">
        <Find label="Find test cases" placeholder="Test case" />
        <span class="grow" />
        <Runs />
      </div>
      {problem !== null && <p class="banner bad" role="alert">{problem}</p>}
      {all !== null && rows.length === 0 ? (
        <Empty title="No test cases">
          {all.length > 0 ? (
            'None of them matches.'
          ) : (
            <>
              Requests are grouped by the test that their baggage header names: <code>baggage: test.case.name=NAME</code>
            </>
          )}
        </Empty>
      ) : (
        <div class="table-box" tabIndex={0} role="region" aria-label="Test cases">
          <table class="table">
            <thead>
              <tr>
                <th class="text">Test case</th>
                <th>Requests</th>
                <th>Failed</th>
                <th>Total</th>
                <th>Slowest</th>
                <th>Last</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((one) => (
                <tr key={one.name}>
                  <td class="text">
                    <a href={traces(one)}>{one.name}</a>
                  </td>
                  <td>{count(one.traces)}</td>
                  <td class={one.failed > 0 ? 'bad' : 'muted'}>
                    {one.failed > 0 ? (
                      <a href={traces(one, ' error:true')}>
                        {count(one.failed)} <small>{percent(one.failed, one.traces)}</small>
                      </a>
                    ) : (
                      '0'
                    )}
                  </td>
                  <td>{duration(one.sum_ns)}</td>
                  <td>{duration(one.most_ns)}</td>
                  <td title={fullTime(one.last_unix_ns)}>{ago(one.last_unix_ns)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}
