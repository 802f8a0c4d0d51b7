"""`fewstep play`: a page on this machine that draws while its sliders move."""
