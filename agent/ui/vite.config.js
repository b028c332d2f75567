import { defineConfig } from 'vite';

export default defineConfig({
  build: {
    // Everything is a file of its own: the content security policy allows nothing that stands in the page.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
  },
  server: {
    // `npm run dev` shows what a running `clew ui` answers.
    proxy: { '/api': { target: 'http://127.0.0.1:9911', changeOrigin: true } },
  },
});
