"""Bundles, engines, codecs and the running of stages. Works without torch; opens no socket."""
