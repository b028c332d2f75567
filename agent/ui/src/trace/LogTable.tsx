/** All that was logged in a trace, by time; each line leads to its span. */
import type { JSX } from 'preact';

import { variable } from '../base/color';
import { duration } from '../base/format';
import { Virtual } from '../base/Virtual';
import { isBad } from './logs';
import type { Viewer } from './viewer';

const ROW = 22;

export function LogTable(props: { viewer: Viewer }): JSX.Element {
  const { viewer } = props;
  const rows = viewer.logRows.value;
  const at = rows.findIndex(({ log }) => log === viewer.log.value);
  return (
    <div class="logs" role="region" aria-label="Logs of this trace" style={{ height: `${rows.length * ROW + 4}px` }}>
      <Virtual
        id="logs"
        label="Logs"
        count={rows.length}
        height={ROW}
        reveal={at < 0 ? undefined : at}
        row={(index) => {
          const row = rows[index];
          if (row === undefined) return null;
          const { log, node } = row;
          const classes = ['log-row', isBad(log) && 'bad', index === at && 'chosen'];
          return (
            <button type="button" key={index} class={classes.filter(Boolean).join(' ')} role="option" aria-selected={index === at} onClick={() => viewer.revealLog(row)}>
              <small>+{duration(log.offset_ns)}</small>
              <i class="dot" style={{ background: variable(viewer.colors.value.get(node.span.service) ?? 0) }} />
              <span class="service">{node.span.service}</span>
              <b>{log.severity}</b>
              <span class="title">{log.body}</span>
            </button>
          );
        }}
      />
    </div>
  );
}
