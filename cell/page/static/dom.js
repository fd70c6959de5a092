// Elements from plain values. Texts become text nodes and never markup: much of what the page shows is written
// by apps.

const SVG = "http://www.w3.org/2000/svg";

/** An element. attributes: `class`, `title` and others; functions are event listeners. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Set a text, only if it differs: an equal text would still cost a layout. */
export function setText(element, text) {
  if (element.shownText !== text) {
    element.shownText = text;
    if (element.firstChild instanceof Text) element.firstChild.data = text;
    else element.textContent = text;
  }
}

/** Set or remove an attribute, only if it differs. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== value) {
    element.setAttribute(name, value);
  }
}

/** Set a custom property of an element's style, only if it differs. */
export function setVariable(element, name, value) {
  if (element.style.getPropertyValue(name) !== value) element.style.setProperty(name, value);
}
