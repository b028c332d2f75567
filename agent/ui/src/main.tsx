import { render } from 'preact';

import { takeToken } from './base/api';
import { listen } from './base/place';
import { applyTheme } from './base/theme';
import { Shell } from './Shell';
import './style/theme.css';
import './style/shell.css';
import './style/list.css';
import './style/trace.css';
import './style/lanes.css';
import './style/panel.css';
import './style/other.css';
import './style/narrow.css';

takeToken();
applyTheme();
listen();
const root = document.getElementById('app');
if (root !== null) render(<Shell />, root);
