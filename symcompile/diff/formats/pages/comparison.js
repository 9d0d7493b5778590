(() => {
  const all = (what, within = document) => [...within.querySelectorAll(what)];
  const sides = all('.side');
  let lit = [], shown = null;
  const light = (id) => {
    if (id === shown) return;
    shown = id;
    lit.forEach((one) => one.classList.remove('lit'));
    lit = id === null ? [] : all(
      `.graph [data-cell="${id}"], .graph [data-from="${id}"], .graph [data-to="${id}"]`);
    lit.forEach((one) => one.classList.add('lit'));
  };
  sides.forEach((side, k) => {
    side.addEventListener('pointerover', (event) => {
      const cell = event.target.closest('[data-cell]');
      light(cell ? cell.dataset.cell : null);
    });
    side.addEventListener('pointerleave', () => light(null));
    side.addEventListener('scroll', () => {
      const other = sides[1 - k];
      if (other && other.scrollLeft !== side.scrollLeft) other.scrollLeft = side.scrollLeft;
    });
  });
  all('.filter').forEach((label) => {
    label.hidden = false;
    const field = label.querySelector('input');
    const rows = all('tbody tr', label.parentElement);
    field.addEventListener('input', () => {
      const wanted = field.value.toLowerCase();
      rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
    });
  });
  const opened = [];
  addEventListener('beforeprint', () => all('details:not([open])').forEach((one) => {
    opened.push(one);
    one.open = true;
  }));
  addEventListener('afterprint', () => opened.splice(0).forEach((one) => { one.open = false; }));
})();
