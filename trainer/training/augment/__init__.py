"""Changes the images of each training batch on the device that trains.

Begin in `standard`, which applies `crop`, `changes` and `augmentation` in turn; `draws` has their random numbers.
"""
